/* reasons.h - rejected rows counted by reason, whatever values the reasons name. */
#ifndef UM_DATA_REASONS_H
#define UM_DATA_REASONS_H

#include "mirrorer/dataset.h"

/* Counts one row in report->reasons; the place where that was done. */
um_ingest_reason *um_reasons_count(um_ingest_report *report, const um_rejection *rejection);

#endif
