"""Reads an event file of TensorBoard with nothing but Python's own library, or with TensorBoard where it is
installed, and compares every figure with the lines of metrics.jsonl and speed.jsonl beside it.

    python3 check_events.py <folder of a training log>
"""
import json
import os
import struct
import sys

folder = sys.argv[1]
path = os.path.join(folder, "events.out.tfevents.mirrorer")


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 1:
            value, at = struct.unpack("<d", data[at:at + 8])[0], at + 8
        elif wire == 5:
            value, at = struct.unpack("<f", data[at:at + 4])[0], at + 4
        else:
            assert wire == 2, wire
            n, at = varint(data, at)
            value, at = data[at:at + n], at + n
        yield key >> 3, value


def read_by_hand():
    data = open(path, "rb").read()
    at, found, versions = 0, {}, 0
    while at < len(data):
        (length,) = struct.unpack("<Q", data[at:at + 8])
        assert struct.unpack("<I", data[at + 8:at + 12])[0] == masked(data[at:at + 8]), "CRC of a length"
        body = data[at + 12:at + 12 + length]
        assert struct.unpack("<I", data[at + 12 + length:at + 16 + length])[0] == masked(body), "CRC of a record"
        at += 16 + length
        event = dict(fields(body))
        assert event[1] > 1.5e9, "wall time"
        versions += event.get(3) == b"brain.Event:2"
        for number, value in fields(event.get(5, b"")):
            assert number == 1
            scalar = dict(fields(value))
            found[(scalar[1].decode(), event[2])] = scalar[2]
    assert versions == 1
    return found


def read_by_tensorboard():
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(folder, size_guidance={"tensors": 0, "scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    return {(tag, e.step): e.value for tag in tags for e in events.Scalars(tag)}


expected = {}
for name in ("metrics.jsonl", "speed.jsonl"):
    for line in open(os.path.join(folder, name)):
        row = json.loads(line)
        for key, value in row.items():
            if key in ("step", "epoch", "seconds", "best_step", "best_loss", "tokens_processed", "tokens_trained"):
                continue
            tag = "eval/" + key[5:] if key.startswith("eval_") else "train/" + key
            expected[(tag, row["step"])] = value

readers = [read_by_hand]
try:
    import tensorboard  # noqa: F401
    readers.append(read_by_tensorboard)
except ImportError:
    print("tensorboard is not installed: read by hand only")
for reader in readers:
    found = reader()
    assert found.keys() == expected.keys(), set(found) ^ set(expected)
    for key, value in expected.items():
        assert abs(found[key] - value) <= 1e-5 * abs(value) + 1e-30, (key, found[key], value)
print(f"{len(expected)} figures agree")
