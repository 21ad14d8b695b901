"""Many Events at once: the bytes of a block of steps with the same tags, without a protocol buffer for each.

Events with the same tags differ in three places: the time, the step and the numbers. They are laid out once, as the
rows of a matrix of bytes, and these places are filled for all rows together.

Sources: the `Event` and `Summary` messages of TensorBoard and the protocol buffer wire format
(protobuf.dev/programming-guides/encoding); the framing and the masked checksum of a TFRecord
(tensorflow.org/tutorials/load_data/tfrecord).
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

import google_crc32c
import numpy as np
from numpy.typing import NDArray

WALL_TIME, STEP, SUMMARY, VALUE, TAG, SIMPLE_VALUE = b"\x09", b"\x10", b"\x2a", b"\x0a", b"\x0a", b"\x15"
"""Number and
wire type of each field: Event.wall_time (1, eight bytes), .step (2, varint), .summary (5, length and bytes);
Summary.value (1, length and bytes); Summary.Value.tag (1, length and bytes), .simple_value (2, four bytes)."""


def records(
    tags: tuple[str, ...], steps: Sequence[int], times: Sequence[float], values: "NDArray[np.floating]"
) -> bytes:
    """One record for each step, with `values[s, t]` under tag t, rounded to float32.

    Args:
        tags: T names.
        steps: S numbers of steps, none below 0.
        times: S times, in seconds since 1970.
        values: shape (S, T).
    """
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite
        numbers = values.astype("<f4")
    found, start = list[bytes](), 0
    # A varint takes a byte for every seven bits, so steps with varints of one length have rows of one length.
    for width, run in groupby(max(1, (step.bit_length() + 6) // 7) for step in steps):
        rows = slice(start, start + len(list(run)))
        found.append(_block(tags, width, np.array(steps[rows], "<u8"), np.array(times[rows], "<f8"), numbers[rows]))
        start = rows.stop
    return b"".join(found)


def record(event: bytes) -> bytes:
    """One record: length, checksum of the length, the Event, its checksum."""
    length = len(event).to_bytes(8, "little")
    return b"".join((length, _checksum(length), event, _checksum(event)))


def _block(
    tags: tuple[str, ...],
    width: int,
    steps: "NDArray[np.uint64]",
    times: "NDArray[np.float64]",
    numbers: "NDArray[np.float32]",
) -> bytes:
    """The records of steps whose numbers take `width` bytes."""
    row, places = _layout(tags, width)
    size = len(row)
    length = size.to_bytes(8, "little")
    whole = np.empty((len(steps), 12 + size + 4), np.uint8)
    whole[:, :12] = np.frombuffer(length + _checksum(length), np.uint8)
    content = whole[:, 12:-4]
    content[:] = row
    content[:, 1:9] = times.view(np.uint8).reshape(-1, 8)
    # The lowest seven bits first; the layout has set the top bit of all bytes but the last.
    shifts = np.arange(0, 7 * width, 7, dtype=np.uint64)
    content[:, 10 : 10 + width] |= (steps[:, None] >> shifts & np.uint64(0x7F)).astype(np.uint8)
    content[:, places] = np.ascontiguousarray(numbers).view(np.uint8)
    data = whole.tobytes()
    events = (data[start : start + size] for start in range(12, len(data), whole.shape[1]))
    checksums = _masked(np.fromiter(map(google_crc32c.value, events), np.uint32, len(steps)))
    whole[:, -4:] = checksums.astype("<u4").view(np.uint8).reshape(-1, 4)
    return whole.tobytes()


@lru_cache
def _layout(tags: tuple[str, ...], width: int) -> tuple["NDArray[np.uint8]", "NDArray[np.int_]"]:
    """An Event with zeros in the places of time, step and numbers, and the places of the bytes of the numbers."""
    heads = [TAG + _sized(tag.encode()) + SIMPLE_VALUE for tag in tags]
    values = [VALUE + _varint(len(head) + 4) + head for head in heads]
    row = WALL_TIME + bytes(8) + STEP + b"\x80" * (width - 1) + b"\x00"
    row += SUMMARY + _varint(sum(len(value) + 4 for value in values))
    places: list[int] = []
    for value in values:
        row += value + bytes(4)
        places += range(len(row) - 4, len(row))
    return np.frombuffer(row, np.uint8), np.array(places)


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
    return _masked(np.array([google_crc32c.value(data)], np.uint32)).astype("<u4").tobytes()


def _masked(crc: "NDArray[np.uint32]") -> "NDArray[np.uint32]":
    """The bits rotated by 15 places, and a constant added modulo 2³²."""
    return (crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(0xA282EAD8)
