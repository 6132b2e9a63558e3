/* world.h - writing a synthetic world as the configuration says; used by `world` and `demo`. */
#ifndef UM_CLI_WORLD_H
#define UM_CLI_WORLD_H

#include "cli/cli.h"

um_status cli_write_world(const um_config *config, const char *dir, const um_monitor *monitor,
                          um_error *err) UM_CHECKED;

#endif
