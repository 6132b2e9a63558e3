/*
 * config.h - config.json and generation_config.json as text, for the model's reader and writer.
 */
#ifndef UM_MODEL_CONFIG_H
#define UM_MODEL_CONFIG_H

#include "base/str.h"
#include "mirrorer/model.h"

#define UM_CONFIG_MAX_BYTES ((size_t)4 << 20)

/* Parses the text of a config.json. `where` is put before messages. */
um_status um_model_config_parse(um_model_config *config, const char *text, size_t len,
                                const char *where, um_error *err) UM_CHECKED;
/* The same, but goes on after what is refused: every message is a line of problems. *complete: all
 * numbers of the shape were read and lie within their ranges. */
um_status um_model_config_inspect(um_model_config *config, bool *complete, const char *text,
                                  size_t len, const char *where, um_str *problems,
                                  um_error *err) UM_CHECKED;
/* Appends config.json; the same configuration always gives the same bytes. */
void um_model_config_write(um_str *s, const um_model_config *config);
/* Appends generation_config.json. end_of_turn (-1: none) ends generation besides eos. */
void um_model_generation_write(um_str *s, const um_model_config *config, int32_t end_of_turn);

#endif
