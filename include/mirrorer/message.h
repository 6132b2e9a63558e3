/* message.h - one turn of a conversation with a language model. */
#ifndef MIRRORER_MESSAGE_H
#define MIRRORER_MESSAGE_H

typedef struct um_message {
    const char *role; /* "system", "user", "assistant" */
    const char *content;
} um_message;

#endif
