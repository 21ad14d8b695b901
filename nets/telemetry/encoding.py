"""Many Events at once: the bytes of a block of steps that carry the same tags, without a protocol buffer for each.

Events with the same tags differ in three places: the time, the step and the numbers. They are laid out once, as the rows of a
matrix of bytes, and those places filled for all rows together. Sources: the `Event` and `Summary` messages of TensorBoard and the
protocol buffer wire format (protobuf.dev/programming-guides/encoding); the framing and the masked checksum of a TFRecord
(tensorflow.org/tutorials/load_data/tfrecord).
"""

from collections.abc import Sequence
from itertools import groupby

import google_crc32c
import numpy as np
from numpy.typing import NDArray

WALL_TIME, STEP, SUMMARY, VALUE, TAG, SIMPLE_VALUE = b"\x09", b"\x10", b"\x2a", b"\x0a", b"\x0a", b"\x15"
"""Number and wire type of each field: Event.wall_time (1, eight bytes), .step (2, varint), .summary (5, length and bytes);
Summary.value (1, length and bytes); Summary.Value.tag (1, length and bytes), .simple_value (2, four bytes)."""


def records(tags: Sequence[str], steps: Sequence[int], times: Sequence[float], values: "NDArray[np.floating]") -> bytes:
    """One record for each step, with `values[s, t]` under tag t, rounded to float32.

    Args:
        tags: T names.
        steps: S numbers of steps, none below 0.
        times: S times, in seconds since 1970.
        values: shape (S, T).
    """
    with np.errstate(over="ignore"):  # what is too large for float32 is infinite there
        numbers = values.astype("<f4")
    found, start = [], 0
    # A varint takes a byte for every seven bits, so rows are as long as each other where their steps are.
    for width, run in groupby(len(_varint(step)) for step in steps):
        rows = slice(start, start + len(list(run)))
        found.append(_block(tags, width, np.array(steps[rows]), np.array(times[rows], "<f8"), numbers[rows]))
        start = rows.stop
    return b"".join(found)


def _block(
    tags: Sequence[str], width: int, steps: "NDArray[np.int_]", times: "NDArray[np.float64]", numbers: "NDArray[np.float32]"
) -> bytes:
    count = len(steps)
    heads = [TAG + _sized(tag.encode()) + SIMPLE_VALUE for tag in tags]
    values = [VALUE + _varint(len(head) + 4) + head for head in heads]
    summary = SUMMARY + _varint(sum(len(value) + 4 for value in values))
    bits = 7 * np.arange(width)
    groups = (steps[:, None] >> bits & 0x7F | np.where(bits < bits[-1], 0x80, 0)).astype(np.uint8)
    columns = [_repeated(WALL_TIME, count), _bytes(times), _repeated(STEP, count), groups, _repeated(summary, count)]
    for number, value in enumerate(values):
        columns += [_repeated(value, count), _bytes(numbers[:, number])]
    content = np.concatenate(columns, 1)
    length = np.uint64(content.shape[1]).tobytes()
    head = length + _checksum(length)
    return b"".join(head + row + _checksum(row) for row in map(bytes, content))


def _bytes(numbers: "NDArray[np.floating]") -> "NDArray[np.uint8]":
    """The bytes of each number, as a row."""
    return np.ascontiguousarray(numbers).view(np.uint8).reshape(len(numbers), -1)


def _repeated(text: bytes, count: int) -> "NDArray[np.uint8]":
    return np.broadcast_to(np.frombuffer(text, np.uint8), (count, len(text)))


def _sized(text: bytes) -> bytes:
    return _varint(len(text)) + text


def _varint(number: int) -> bytes:
    """Seven bits to a byte, the lowest first; all but the last byte have their top bit set."""
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def _checksum(data: bytes) -> bytes:
    """The masked CRC-32C."""
    crc = google_crc32c.value(data)
    return ((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")
