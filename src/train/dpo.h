/* dpo.h - the loss of one preference pair. */
#ifndef UM_TRAIN_DPO_H
#define UM_TRAIN_DPO_H

#include "mirrorer/train.h"

/*
 * h = (l_w - l_l) - (r_w - r_l): how much more the policy prefers chosen to rejected than the
 * reference does. l, r: log p of a completion, the sum over its tokens; for ipo their mean, as in
 * TRL, whose authors had it confirmed by the paper's. With x = beta h, e = label_smoothing:
 *   sigmoid  -(1-e) log s(x) - e log s(-x), Rafailov et al. 2023; e > 0: Mitchell 2023
 *   robust   (-(1-e) log s(x) + e log s(-x)) / (1 - 2e), Chowdhury et al. 2024
 *   hinge    max(0, 1 - x), Zhao et al. 2023
 *   ipo      (h - 1 / (2 beta))^2, Azar et al. 2023
 * *slope = d loss / d h.
 */
void um_dpo_pair_loss(double *loss, double *slope, double h, const um_train_options *options);

#endif
