/* mirrorer.h - the whole API of libmirrorer. */
#ifndef MIRRORER_MIRRORER_H
#define MIRRORER_MIRRORER_H

#include "mirrorer/audit.h"
#include "mirrorer/bench.h"
#include "mirrorer/choice.h"
#include "mirrorer/config.h"
#include "mirrorer/dataset.h"
#include "mirrorer/distill.h"
#include "mirrorer/dtype.h"
#include "mirrorer/eval.h"
#include "mirrorer/lora.h"
#include "mirrorer/model.h"
#include "mirrorer/monitor.h"
#include "mirrorer/pipeline.h"
#include "mirrorer/process.h"
#include "mirrorer/remote.h"
#include "mirrorer/responder.h"
#include "mirrorer/scene.h"
#include "mirrorer/status.h"
#include "mirrorer/tokenizer.h"
#include "mirrorer/train.h"
#include "mirrorer/workspace.h"
#include "mirrorer/world.h"

#endif
