/* schedule.h - learning-rate factor: linear warm-up, then half a cosine down to 0. */
#ifndef UM_TRAIN_SCHEDULE_H
#define UM_TRAIN_SCHEDULE_H

#include <stdint.h>

/*
 * Factor of the update number `step` (from 0) of `total`: step / warmup while step < warmup, then
 * max(0, (1 + cos(pi (step - warmup) / (total - warmup))) / 2). So with a warm-up the first update
 * has factor 0. Loshchilov & Hutter 2017, with torchtune's warm-up.
 */
double um_schedule_factor(int64_t step, int64_t warmup, int64_t total);

#endif
