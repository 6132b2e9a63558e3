/* scenes.h - a scene and an audit as a person reads them; both take the JSON of the library. */
#ifndef UM_CLI_SCENES_H
#define UM_CLI_SCENES_H

#include <stdbool.h>

/* chat: with the system message, and the chat as the tokenizer writes it. */
void cli_print_scene(const char *json, bool chat);
void cli_print_audit(const char *json);

#endif
