"""Losses that draw random numbers, made deterministic: the target and the seed determine what each call draws.

The whole batch then draws the numbers that its micro-batches drew, concatenated.
"""

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import singledispatch
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from nets.torch_internals import TorchDispatchMode, pytree
from nets.verification.problem.randomness import SOURCES, seeded

Drawn: TypeAlias = list[tuple[Any, Tensor]]
"""The random operations of a call in order, each with its result."""

Generator: TypeAlias = torch.Generator | np.random.Generator | random.Random


class CannotReplay(Exception):
    """The random numbers of the micro-batches cannot be reproduced in a call with the whole batch."""


class DeterministicLoss:
    """A loss whose random numbers are determined by its target and the seed. All attributes are those of the loss.

    Args:
        loss: the caller's.
        seed: another seed gives other numbers.
        generators: the generators that the loss can reach, besides the global ones.
    """

    def __init__(self, loss: Callable[..., Any], seed: int, generators: list[Generator]) -> None:
        self._loss, self._seed, self._generators = loss, seed, generators

    def __call__(self, output: Any, target: Any) -> Any:
        with drawing_from(_hash(self._seed, target), self._generators):
            return self._loss(output, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loss, name)


@contextmanager
def drawing_from(seed: int, generators: list[Generator]) -> Iterator[None]:
    """Within this context the global generators and the given ones start at the seed; afterwards they are put back."""
    before = [_state(generator) for generator in generators]
    try:
        with seeded(tuple(SOURCES), seed):
            for generator in generators:
                _set_state(generator, _state_at(generator, seed))
            yield
    finally:
        for generator, state in zip(generators, before, strict=True):
            _set_state(generator, state)


@singledispatch
def _state(generator: Any) -> Any:
    return generator.get_state()


@_state.register
def _(generator: random.Random) -> Any:
    return generator.getstate()


@_state.register
def _(generator: np.random.Generator) -> Any:
    return generator.bit_generator.state


@singledispatch
def _set_state(generator: Any, state: Any) -> None:
    generator.set_state(state)


@_set_state.register
def _(generator: random.Random, state: Any) -> None:
    generator.setstate(state)


@_set_state.register
def _(generator: np.random.Generator, state: Any) -> None:
    generator.bit_generator.state = state


@singledispatch
def _state_at(generator: Any, seed: int) -> Any:
    """The state that a generator of this kind has after it is seeded."""
    return torch.Generator(generator.device).manual_seed(seed).get_state()


@_state_at.register
def _(generator: random.Random, seed: int) -> Any:
    return random.Random(seed).getstate()


@_state_at.register
def _(generator: np.random.Generator, seed: int) -> Any:
    return type(generator.bit_generator)(seed).state


class RecordDraws(TorchDispatchMode):
    """A context that records the results of random operations.

    Attributes:
        drawn: the operations and their results.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.drawn: Drawn = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if _is_random(func):
            self.drawn.append((func, result.clone()))
        return result


class ReplayDraws(TorchDispatchMode):
    """A context in which each random operation gives what it gave in the micro-batches, concatenated.

    Args:
        recorded: the draws of each micro-batch.

    Raises:
        CannotReplay: where the operations differ, or their results have not the shape that is asked for, as for one
            random number a batch.
    """

    def __init__(self, recorded: list[Drawn]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if len({len(drawn) for drawn in recorded}) != 1:
            raise CannotReplay
        self._waiting = list(zip(*recorded, strict=True))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not _is_random(func):
            return result
        calls = self._waiting.pop(0) if self._waiting else ()
        if not calls or any(other is not func for other, _ in calls):
            raise CannotReplay
        drawn = [numbers for _, numbers in calls]
        if func.overloadpacket is torch.ops.aten.randperm:  # permutations of consecutive ranges permute the whole range
            starts = itertools.accumulate((len(numbers) for numbers in drawn[:-1]), initial=0)
            drawn = [numbers + start for numbers, start in zip(drawn, starts, strict=True)]
        return result.copy_(_concatenated(drawn, result.shape))


def _concatenated(drawn: list[Tensor], shape: torch.Size) -> Tensor:
    # The samples may run along any axis, such as the second axis of noise of shape (draws, samples).
    for axis in range(len(shape)):
        if all(one.ndim == len(shape) and one.shape[:axis] == shape[:axis] for one in drawn):
            rest = all(one.shape[axis + 1 :] == shape[axis + 1 :] for one in drawn)
            if rest and sum(one.shape[axis] for one in drawn) == shape[axis]:
                return torch.cat(drawn, axis)
    raise CannotReplay


def _is_random(func: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags


def _hash(seed: int, target: Any) -> int:
    found = hashlib.blake2b(str(seed).encode(), digest_size=6)
    for leaf in pytree.tree_leaves(target):
        if isinstance(leaf, Tensor):
            found.update(str(tuple(leaf.shape)).encode())
            found.update(leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return int.from_bytes(found.digest(), "big")
