"""Writes events.tfevents as TensorBoard's own code does: framing by its RecordWriter, messages by its protocol
buffers (tensorboard 2.21.0, protobuf 7.36.2). tests/unit/test_train_log.c writes the same events.

    python3 gen_tensorboard.py
"""
import os

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

EVENTS = [
    (1, 1700000001.25, [("train/loss", 0.6931471805599453), ("train/lr", 0.0)]),
    (127, 1700000002.0, [("train/rewards/margins", -1.5e-7)]),
    (128, 1700000003.0, [("eval/loss", 1e30), ("eval/" + "long" * 40, 0.1)]),
    (1 << 40, 1700000004.0, [("train/loss", float("nan"))]),
]

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "events.tfevents")
with open(path, "wb") as out:
    writer = RecordWriter(out)
    writer.write(Event(wall_time=1700000000.5, file_version="brain.Event:2").SerializeToString(deterministic=True))
    for step, wall_time, scalars in EVENTS:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars]
        writer.write(Event(wall_time=wall_time, step=step, summary=Summary(value=values))
                     .SerializeToString(deterministic=True))
    writer.flush()
