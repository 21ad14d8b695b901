"""The bytes of a block of steps equal those of TensorBoard's own messages and records."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from nets.telemetry.tensorboard.encoding import records


def by_tensorboard(tags: tuple[str, ...], steps: list[int], times: list[float], values: np.ndarray) -> list[Event]:
    events = []
    with np.errstate(over="ignore"):
        for step, time, row in zip(steps, times, values.astype(np.float32), strict=True):
            numbers = [
                Summary.Value(tag=tag, simple_value=float(number)) for tag, number in zip(tags, row, strict=True)
            ]
            events.append(Event(wall_time=time, step=step, summary=Summary(value=numbers)))
    return events


def framed(events: list[Event]) -> bytes:
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString())
    return file.getvalue()


@settings(max_examples=60, deadline=None)
@given(
    tags=st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=6).map(tuple),
    steps=st.lists(st.integers(1, 2**62), min_size=1, max_size=8),
    seed=st.integers(0, 99),
)
def test_the_bytes_equal_those_of_tensorboard(tags: tuple[str, ...], steps: list[int], seed: int) -> None:
    """Byte for byte: fields in the order of their numbers, lengths and steps as varints, masked checksums."""
    generator = np.random.default_rng(seed)
    values = generator.lognormal(0, 40, (len(steps), len(tags))) * generator.choice([-1, 1], (len(steps), len(tags)))
    times = (1e9 + generator.random(len(steps))).tolist()
    assert records(tags, steps, times, values) == framed(by_tensorboard(tags, steps, times, values))


def test_numbers_that_are_not_finite_zero_or_too_large_are_kept() -> None:
    values = np.array([[np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300, 1e-300]])
    (event,) = by_tensorboard(tuple("abcdefg"), [7], [1.5], values)
    encoded = records(tuple("abcdefg"), [7], [1.5], values)
    found = Event.FromString(encoded[12:-4])
    assert found.step == 7 and found.wall_time == 1.5
    numbers = [value.simple_value for value in found.summary.value]
    assert np.array_equal(numbers, [value.simple_value for value in event.summary.value], equal_nan=True)
    assert numbers[5] == np.inf


def test_step_zero_can_be_read() -> None:
    """TensorBoard's own messages omit a zero; here it is written, and reads the same."""
    encoded = records(("a",), [0, 1], [1.0, 2.0], np.array([[1.0], [2.0]]))
    size = int.from_bytes(encoded[:8], "little")
    assert Event.FromString(encoded[12 : 12 + size]).step == 0


@pytest.mark.parametrize("steps", [[126, 127, 128, 129], [16_383, 16_384], [128, 5, 300]])
def test_steps_of_different_lengths_stay_in_order(steps: list[int]) -> None:
    values = np.arange(len(steps), dtype=float)[:, None]
    assert records(("a",), steps, [1.0] * len(steps), values) == framed(
        by_tensorboard(("a",), steps, [1.0] * len(steps), values)
    )
