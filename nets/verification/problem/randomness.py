"""The global random generators that a module may draw from: those of PyTorch, Python and NumPy. Each is put back after
use."""

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

_EXPONENT, _HALF = 0x7FF << 52, 0x3FE << 52
"""The exponent bits of a float64, and their value for numbers from 1/2 to 1."""


class _Source(NamedTuple):
    """A global generator."""

    state: Callable[[], Any]
    restore: Callable[[Any], object]
    seed: Callable[[int], object]


SOURCES = {
    # Not torch.manual_seed, which also seeds every accelerator and takes a hundred times as long.
    "torch": _Source(
        torch.random.get_rng_state, torch.random.set_rng_state, lambda s: torch.default_generator.manual_seed(s)
    ),
    "random": _Source(random.getstate, random.setstate, random.seed),
    "numpy": _Source(
        lambda: np.random.get_state(legacy=False), np.random.set_state, lambda s: np.random.seed(s % 2**32)
    ),
}


def signed(count: int, generator: torch.Generator) -> torch.Tensor:
    """Random signs, random sizes between 1/2 and 1 in steps of 2⁻¹⁶."""
    # Four numbers of sixteen bits from each draw of 64: for a large direction, drawing takes most of the time.
    drawn = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    # The sign bit and leading digits of a float64 with the exponent of the numbers from 1/2 to 1.
    digits = drawn.view(torch.int16)[:count].to(torch.int64).bitwise_left_shift_(48)
    return digits.bitwise_and_(~_EXPONENT).bitwise_or_(_HALF).view(torch.float64)


def stream(seed: int, *purpose: str) -> torch.Generator:
    """A separate generator for each purpose, such as ("cotangent",) or ("steps", "0.weight").

    Streams of one seed and different purposes are independent: a random direction never repeats the numbers of the
    cotangent. Source: `numpy.random.SeedSequence`, which hashes seed and purpose together.
    """
    words = [seed, *(byte for word in purpose for byte in (*word.encode(), 256))]
    state = np.random.SeedSequence(words).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


@contextlib.contextmanager
def seeded(names: tuple[str, ...], seed: int) -> Iterator[None]:
    """Within this context the named global generators start at the seed; afterwards they are put back."""
    before = [SOURCES[name].state() for name in names]
    try:
        for name in names:
            SOURCES[name].seed(seed)
        yield
    finally:
        for name, state in zip(names, before, strict=True):
            SOURCES[name].restore(state)


class Watched:
    """A context that finds out which global generators are drawn from, and puts them back.

    Attributes:
        drawn: their names, after the context.
    """

    drawn: tuple[str, ...] = ()

    def __enter__(self) -> "Watched":
        self._before = {name: source.state() for name, source in SOURCES.items()}
        return self

    def __exit__(self, *_: object) -> None:
        self.drawn = tuple(name for name, source in SOURCES.items() if not _same(source.state(), self._before[name]))
        for name in self.drawn:
            SOURCES[name].restore(self._before[name])


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return all(_same(one[key], other[key]) for key in one)
    return bool(one == other)
