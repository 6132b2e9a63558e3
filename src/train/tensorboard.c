#include "train/tensorboard.h"

#include <string.h>

#define FILE_VERSION "brain.Event:2"
#define CASTAGNOLI   0x82F63B78u /* reflected */
#define MASK_DELTA   0xA282EAD8u
#define HEAD_BYTES   12 /* length and its CRC */

/* Wire types of protocol buffers. */
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

uint32_t um_crc32c(const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (CASTAGNOLI & (0u - (crc & 1u)));
    }
    return ~crc;
}

static uint32_t masked_crc(const void *bytes, size_t n)
{
    uint32_t crc = um_crc32c(bytes, n);
    return (crc >> 15 | crc << 17) + MASK_DELTA;
}

/* Writing; x86-64 and aarch64 are little-endian, as the file is. */

static void put_varint(um_str *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        um_str_append_char(out, (char)(0x80 | (value & 0x7F)));
    um_str_append_char(out, (char)value);
}

static void put_key(um_str *out, unsigned field, unsigned wire)
{
    put_varint(out, field << 3 | wire);
}

static void put_bytes(um_str *out, unsigned field, const void *bytes, size_t n)
{
    put_key(out, field, WIRE_BYTES);
    put_varint(out, n);
    um_str_append_n(out, bytes, n);
}

static void put_wall_time(um_str *out, double wall_time)
{
    put_key(out, 1, WIRE_64);
    um_str_append_n(out, &wall_time, sizeof wall_time);
}

static void put_scalar(um_str *summary, const um_tb_scalar *scalar)
{
    um_str value = UM_STR_INIT;
    float simple = (float)scalar->value;
    put_bytes(&value, 1, scalar->tag, strlen(scalar->tag));
    put_key(&value, 2, WIRE_32);
    um_str_append_n(&value, &simple, sizeof simple);
    put_bytes(summary, 1, um_str_text(&value), value.len);
    if (value.failed != UM_OK && summary->failed == UM_OK)
        summary->failed = value.failed;
    um_str_dispose(&value);
}

static void put_record(um_str *out, um_str *event)
{
    uint64_t length = event->len;
    const char *data = um_str_text(event);
    uint32_t head = masked_crc(&length, sizeof length), body = masked_crc(data, event->len);
    um_str_append_n(out, &length, sizeof length);
    um_str_append_n(out, &head, sizeof head);
    um_str_append_n(out, data, event->len);
    um_str_append_n(out, &body, sizeof body);
    if (event->failed != UM_OK && out->failed == UM_OK)
        out->failed = event->failed;
    um_str_dispose(event);
}

void um_tb_append_version(um_str *out, double wall_time)
{
    um_str event = UM_STR_INIT;
    put_wall_time(&event, wall_time);
    put_bytes(&event, 3, FILE_VERSION, sizeof FILE_VERSION - 1);
    put_record(out, &event);
}

void um_tb_append_scalars(um_str *out, double wall_time, int64_t step, const um_tb_scalar *scalars,
                          size_t n)
{
    um_str event = UM_STR_INIT, summary = UM_STR_INIT;
    for (size_t i = 0; i < n; i++)
        put_scalar(&summary, &scalars[i]);
    put_wall_time(&event, wall_time);
    put_key(&event, 2, WIRE_VARINT);
    put_varint(&event, (uint64_t)step);
    put_bytes(&event, 5, um_str_text(&summary), summary.len);
    if (summary.failed != UM_OK && event.failed == UM_OK)
        event.failed = summary.failed;
    um_str_dispose(&summary);
    put_record(out, &event);
}

/* Walking */

typedef struct field {
    unsigned number, wire;
    uint64_t value;            /* of a varint */
    const unsigned char *data; /* of a fixed number or bytes */
    size_t len;
} field;

static bool take_varint(const unsigned char *data, size_t len, size_t *at, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; *at < len && shift < 64; shift += 7) {
        unsigned char byte = data[(*at)++];
        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

/* The next field of a message; false at its end and at what is none. */
static bool take_field(field *out, const unsigned char *data, size_t len, size_t *at)
{
    uint64_t key, size = 0;
    *out = (field){0};
    if (!take_varint(data, len, at, &key))
        return false;
    out->number = (unsigned)(key >> 3);
    out->wire = key & 7;
    switch (out->wire) {
    case WIRE_VARINT:
        return take_varint(data, len, at, &out->value);
    case WIRE_64:
        size = 8;
        break;
    case WIRE_32:
        size = 4;
        break;
    case WIRE_BYTES:
        if (!take_varint(data, len, at, &size))
            return false;
        break;
    default:
        return false;
    }
    if (size > len - *at)
        return false;
    out->data = data + *at;
    out->len = (size_t)size;
    *at += (size_t)size;
    return true;
}

/* The first field of bytes with this number; false when there is none. */
static bool find_bytes(field *out, unsigned number, const unsigned char *data, size_t len)
{
    size_t at = 0;
    while (take_field(out, data, len, &at)) {
        if (out->number == number && out->wire == WIRE_BYTES)
            return true;
    }
    return false;
}

bool um_tb_next(um_tb_record *record, const unsigned char *data, size_t len, size_t *at)
{
    uint64_t length;
    uint32_t head, body;
    field part;
    if (len - *at < HEAD_BYTES + sizeof body)
        return false;
    memcpy(&length, data + *at, sizeof length);
    memcpy(&head, data + *at + sizeof length, sizeof head);
    if (masked_crc(&length, sizeof length) != head || length > len - *at - HEAD_BYTES - sizeof body)
        return false;
    const unsigned char *event = data + *at + HEAD_BYTES;
    memcpy(&body, event + length, sizeof body);
    if (masked_crc(event, (size_t)length) != body)
        return false;
    *record = (um_tb_record){0};
    for (size_t i = 0; take_field(&part, event, (size_t)length, &i);) {
        if (part.number == 2 && part.wire == WIRE_VARINT)
            record->step = (int64_t)part.value;
    }
    if (find_bytes(&part, 5, event, (size_t)length) && find_bytes(&part, 1, part.data, part.len) &&
        find_bytes(&part, 1, part.data, part.len)) {
        record->tag = (const char *)part.data;
        record->tag_len = part.len;
    }
    *at += HEAD_BYTES + (size_t)length + sizeof body;
    return true;
}
