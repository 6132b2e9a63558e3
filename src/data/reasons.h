/* reasons.h - rejected rows counted by reason, whatever values the reasons name. */
#ifndef UM_DATA_REASONS_H
#define UM_DATA_REASONS_H

#include "mirrorer/dataset.h"

/* Counts one row in report->reasons. */
void um_reasons_count(um_ingest_report *report, const um_rejection *rejection);

#endif
