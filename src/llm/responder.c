/* responder.c - what all responders share. */
#include "mirrorer/responder.h"

void um_responder_free(um_responder *responder)
{
    if (responder != NULL)
        responder->ops->free(responder);
}
