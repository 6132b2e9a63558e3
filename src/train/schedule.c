#include "train/schedule.h"

#include <math.h>

double um_schedule_factor(int64_t step, int64_t warmup, int64_t total)
{
    if (step < warmup)
        return (double)step / (double)warmup;
    if (total <= warmup)
        return 0.0;
    double done = (double)(step - warmup) / (double)(total - warmup);
    double factor = 0.5 * (1.0 + cos(M_PI * done));
    return factor > 0.0 ? factor : 0.0;
}
