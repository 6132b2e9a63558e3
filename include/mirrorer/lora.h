/*
 * lora.h - low-rank adapters of a model's matrices (Hu et al. 2021), in PEFT's layout on disk.
 *
 * An adapted matrix W [out, in] acts as W + (alpha / rank) B A with A [rank, in] and B [out, rank].
 * A new adapter has A uniform in +-1/sqrt(in) (Kaiming's rule as PEFT applies it) and B zero: it
 * changes nothing. There is no dropout. In training (train.h, `adapter`) the model stays as it is.
 *
 * A folder holds adapter_config.json and adapter_model.safetensors, the tensors named
 * "base_model.model.model.layers.<l>.<module>.lora_A.weight" and "... .lora_B.weight".
 */
#ifndef MIRRORER_LORA_H
#define MIRRORER_LORA_H

#include <stdint.h>

#include "mirrorer/model.h"
#include "mirrorer/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Matrices of every layer that are adapted. */
enum um_lora_target {
    UM_LORA_Q = 1,
    UM_LORA_K = 2,
    UM_LORA_V = 4,
    UM_LORA_O = 8,
    UM_LORA_GATE = 16,
    UM_LORA_UP = 32,
    UM_LORA_DOWN = 64,
    UM_LORA_ALL = 127
};
/* "q,k,v,o,gate,up,down", any of them in any order, or "all". UM_ERR_INPUT names a wrong one. */
um_status um_lora_parse_targets(unsigned *out, const char *text, um_error *err) UM_CHECKED;

typedef struct um_lora_options {
    int rank; /* 1 to 4096 */
    double alpha;
    unsigned targets; /* of um_lora_target, at least one */
    uint64_t seed;    /* of A */
} um_lora_options;

typedef struct um_lora um_lora;

um_status um_lora_new(um_lora **out, const um_model_config *config, const um_lora_options *options,
                      um_error *err) UM_CHECKED;
/* Reads a PEFT folder for a model of this shape. What changes the mathematics beyond rank, alpha
 * and rsLoRA (DoRA, biases, whole modules, other ranks for some) is UM_ERR_UNSUPPORTED. */
um_status um_lora_load(um_lora **out, const um_model_config *config, const char *dir,
                       um_error *err) UM_CHECKED;
/* Writes a PEFT folder, each file whole or not at all. base_model: what adapter_config.json names
 * as the model it belongs to; NULL: none. */
um_status um_lora_save(const um_lora *lora, const char *dir, const char *base_model,
                       um_error *err) UM_CHECKED;
void um_lora_free(um_lora *lora);

/* Adds the adapter to the model's matrices. The shapes must agree (UM_ERR_INPUT). */
um_status um_lora_merge(um_model *model, const um_lora *lora, um_error *err) UM_CHECKED;

uint64_t um_lora_parameters(const um_lora *lora);
uint64_t um_lora_hash(const um_lora *lora); /* of rank, scale, targets and values */

#ifdef __cplusplus
}
#endif
#endif
