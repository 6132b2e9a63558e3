/* version.h - the program's version; part of every stage's fingerprint. */
#ifndef UM_STAGE_VERSION_H
#define UM_STAGE_VERSION_H

#define UM_VERSION "0.1.0"

#endif
