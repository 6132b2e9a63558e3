/*
 * progress.c - what a person sees while a long step runs.
 *
 * On a terminal one line is redrawn: bar, count, rate, time left, and the stage's own figures; what
 * does not fit its width is cut, a narrow one has no bar. Elsewhere a plain line appears at each
 * tenth, or every ten seconds, so that logs stay short.
 */
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "cli/cli.h"

#define BAR_CELLS   24
#define BAR_COLUMNS 110 /* of a terminal that has room for the bar */
#define ALL_COLUMNS 170 /* and for figures of the stage's own beside it */
#define NO_COLUMNS  200 /* of one that does not tell */

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

static void put_seconds(um_str *out, double seconds)
{
    if (seconds < 1)
        um_str_appendf(out, "%.1f s", seconds);
    else if (seconds < 60)
        um_str_appendf(out, "%.0f s", seconds);
    else if (seconds < 3600)
        um_str_appendf(out, "%d:%02d min", (int)seconds / 60, (int)seconds % 60);
    else
        um_str_appendf(out, "%.0f:%02d h", floor(seconds / 3600), (int)fmod(seconds, 3600) / 60);
}

void cli_print_seconds(FILE *out, double seconds)
{
    um_str text = UM_STR_INIT;
    put_seconds(&text, seconds);
    fputs(um_str_text(&text), out);
    um_str_dispose(&text);
}

void cli_progress_end(void)
{
    if (state.open)
        fputc('\n', stderr);
    state.open = false;
}

static void put_figures(um_str *out, const um_progress *p, uint64_t now)
{
    double seconds = (double)(now - state.begun_ms) / 1000;
    double rate = seconds > 0 ? (double)(p->done - state.first_done) / seconds : 0;

    um_str_appendf(out, "%llu", (unsigned long long)p->done);
    if (p->total > 0)
        um_str_appendf(out, "/%llu", (unsigned long long)p->total);
    um_str_appendf(out, " %s", p->unit);
    if (rate > 0)
        um_str_appendf(out, rate >= 10 ? ", %.0f/s" : ", %.2f/s", rate);
    if (p->done < p->total && rate > 0) {
        um_str_append(out, ", ");
        put_seconds(out, (double)(p->total - p->done) / rate);
        um_str_append(out, " left");
    } else if (p->done >= p->total) {
        um_str_append(out, ", ");
        put_seconds(out, seconds);
    }
    if (p->detail != NULL)
        um_str_appendf(out, "  %s", p->detail);
}

static int terminal_columns(void)
{
    struct winsize size = {0};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col
                                                                           : NO_COLUMNS;
}

/* Redraws the line; one that wrapped could not be drawn over. */
static void redraw(const um_progress *p, uint64_t now)
{
    um_str line = UM_STR_INIT;
    int columns = terminal_columns(), shown = 0;
    if (columns >= (p->detail != NULL ? ALL_COLUMNS : BAR_COLUMNS)) {
        int filled = p->total > 0 ? (int)(p->done * BAR_CELLS / p->total) : 0;
        um_str_appendf(&line, "%-40s [", p->stage);
        for (int i = 0; i < BAR_CELLS; i++)
            um_str_append_char(&line, i < filled ? '#' : '.');
        um_str_append(&line, "] ");
    } else {
        um_str_appendf(&line, "%s: ", p->stage);
    }
    put_figures(&line, p, now);
    const char *text = um_str_text(&line), *end = text;
    for (; *end != '\0'; end++) {
        bool begins = ((unsigned char)*end & 0xC0) != 0x80; /* a character of UTF-8 */
        if (begins && ++shown >= columns)
            break;
    }
    fprintf(stderr, "\r\033[K%.*s", (int)(end - text), text);
    um_str_dispose(&line);
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
        um_str line = UM_STR_INIT;
        um_str_appendf(&line, "%s: ", p->stage);
        put_figures(&line, p, now);
        fprintf(stderr, "%s\n", um_str_text(&line));
        um_str_dispose(&line);
        return;
    }
    redraw(p, now);
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
