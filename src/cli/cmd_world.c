/* cmd_world.c - mirrorer world */
#include "cli/world.h"

#include <string.h>

#include "base/file.h"
#include "cli/common.h"

static um_world_options world_options(const um_config *c)
{
    um_world_options o;
    um_world_defaults(&o);
    o.seed = c->seed;
    o.users = (uint32_t)c->world.users;
    o.items = (uint32_t)c->world.items;
    o.interactions = (uint64_t)c->world.interactions;
    o.list_len = (uint32_t)c->world.list_len;
    o.accident_share = c->world.accident_share;
    o.taste_genre = c->world.taste_genre;
    o.taste_era = c->world.taste_era;
    o.taste_mood = c->world.taste_mood;
    o.taste_quality = c->world.taste_quality;
    o.taste_new = c->world.taste_new;
    o.popular_share = c->world.popular_share;
    o.matching_share = c->world.matching_share;
    return o;
}

um_status cli_write_world(const um_config *config, const char *dir, const um_monitor *monitor,
                          um_error *err)
{
    um_world_options o = world_options(config);
    um_status status = um_path_make_dirs(dir, err);
    if (status != UM_OK)
        return status;
    if (strcmp(config->world.format, "ml-1m") == 0)
        return um_world_write_movielens(&o, dir, monitor, err);
    return um_world_write_canonical(&o, dir, monitor, err);
}

static int run(cli_args *args)
{
    um_error err;
    const char *dir = args->positional[0];
    um_status status = cli_write_world(&args->config, dir, cli_monitor(args), &err);

    if (status != UM_OK)
        return cli_fail(&err);
    cli_progress_end();
    if (args->json)
        printf("{\"users\":%lld,\"items\":%lld,\"interactions\":%lld}\n",
               (long long)args->config.world.users, (long long)args->config.world.items,
               (long long)args->config.world.interactions);
    else
        printf(
            "A world of %lld users, %lld items and %lld choices is in %s. Next: mirrorer run %s\n",
            (long long)args->config.world.users, (long long)args->config.world.items,
            (long long)args->config.world.interactions, dir, dir);
    return EXIT_OK;
}

const cli_command cmd_world = {
    .name = "world",
    .usage = "DIR [options]",
    .summary = "Write a synthetic log whose real choice probabilities are known",
    .about = "Users with latent tastes over genre, era and mood choose from lists by a softmax "
             "over utilities;\n"
             "a known share of clicks is accidental. docs/WORLD.md gives the model. Format "
             "canonical writes\n"
             "JSONL with impressions and probabilities; ml-1m writes MovieLens-1M's own files.",
    .sections = "world.",
    .min_positional = 1,
    .max_positional = 1,
    .run = run,
};
