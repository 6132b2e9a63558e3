/*
 * progress.c - what a person sees while a long step runs.
 *
 * On a terminal one line is redrawn: bar, count, rate, time left. Elsewhere a plain line appears at
 * each tenth, or every ten seconds, so that logs stay short.
 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"

#define BAR_CELLS 24

static volatile sig_atomic_t stop;

static struct {
    bool terminal, open, quiet;
    char stage[96];
    uint64_t begun_ms, first_done, line_ms;
    unsigned tenth;
} state;

static void on_signal(int signal_number)
{
    if (stop)
        _exit(128 + signal_number); /* asked twice: at once */
    stop = 1;
}

void cli_print_seconds(FILE *out, double seconds)
{
    if (seconds < 1)
        fprintf(out, "%.1f s", seconds);
    else if (seconds < 60)
        fprintf(out, "%.0f s", seconds);
    else if (seconds < 3600)
        fprintf(out, "%d:%02d min", (int)seconds / 60, (int)seconds % 60);
    else
        fprintf(out, "%d:%02d h", (int)seconds / 3600, (int)seconds % 3600 / 60);
}

void cli_progress_end(void)
{
    if (state.open)
        fputc('\n', stderr);
    state.open = false;
}

static void draw_figures(const um_progress *p, uint64_t now)
{
    double seconds = (double)(now - state.begun_ms) / 1000;
    double rate = seconds > 0 ? (double)(p->done - state.first_done) / seconds : 0;

    fprintf(stderr, "%llu", (unsigned long long)p->done);
    if (p->total > 0)
        fprintf(stderr, "/%llu", (unsigned long long)p->total);
    fprintf(stderr, " %s", p->unit);
    if (rate > 0)
        fprintf(stderr, rate >= 10 ? ", %.0f/s" : ", %.2f/s", rate);
    if (p->done < p->total && rate > 0) {
        fputs(", ", stderr);
        cli_print_seconds(stderr, (double)(p->total - p->done) / rate);
        fputs(" left", stderr);
    } else if (p->done >= p->total) {
        fputs(", ", stderr);
        cli_print_seconds(stderr, seconds);
    }
    if (p->detail != NULL)
        fprintf(stderr, "  %s", p->detail);
}

static void begin_stage(const um_progress *p, uint64_t now)
{
    cli_progress_end();
    snprintf(state.stage, sizeof state.stage, "%s", p->stage);
    state.begun_ms = now;
    state.first_done = p->resumed;
    state.tenth = 0;
    state.line_ms = now;
}

static void on_progress(void *context, const um_progress *p)
{
    uint64_t now = um_clock_ms();
    (void)context;
    if (strcmp(state.stage, p->stage) != 0)
        begin_stage(p, now);
    unsigned tenth = p->total > 0 ? (unsigned)(p->done * 10 / p->total) : 0;
    bool finished = p->total > 0 && p->done >= p->total;
    if (!state.terminal) {
        if (tenth == state.tenth && now - state.line_ms < 10000)
            return;
        state.tenth = tenth;
        state.line_ms = now;
        fprintf(stderr, "%s: ", p->stage);
        draw_figures(p, now);
        fputc('\n', stderr);
        return;
    }
    int filled = p->total > 0 ? (int)(p->done * BAR_CELLS / p->total) : 0;
    fprintf(stderr, "\r\033[K%-40s [", p->stage);
    for (int i = 0; i < BAR_CELLS; i++)
        fputc(i < filled ? '#' : '.', stderr);
    fputs("] ", stderr);
    draw_figures(p, now);
    state.open = true;
    if (finished)
        cli_progress_end();
    fflush(stderr);
}

static void on_message(void *context, const char *text)
{
    (void)context;
    cli_progress_end();
    fprintf(stderr, "%s\n", text);
}

const um_monitor *cli_monitor(const cli_args *args)
{
    static um_monitor monitor;
    struct sigaction action = {.sa_handler = on_signal};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    state.terminal = isatty(STDERR_FILENO) != 0;
    monitor = (um_monitor){.on_progress = args->quiet ? NULL : on_progress,
                           .on_message = args->quiet ? NULL : on_message,
                           .stop = &stop};
    return &monitor;
}
