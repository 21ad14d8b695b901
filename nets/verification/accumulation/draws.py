"""Losses that draw random numbers, made functions: each call draws what its target determines, and the whole batch what its
micro-batches drew."""

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
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from nets.verification.problem.randomness import SOURCES, seeded

Drawn = list[tuple[Any, Tensor]]
"""Each random operation of a call, in their order, with its numbers."""


Generator: TypeAlias = torch.Generator | np.random.Generator | random.Random


class NoReplay(Exception):
    """The random numbers of the micro-batches cannot be those of the whole batch."""


class Keyed:
    """A loss whose random numbers are determined by its target and the seed, so that the same call always draws the same ones.
    Everything else about it is the loss itself.

    Args:
        loss: the caller's.
        seed: another one, other numbers.
        generators: those that the loss can reach; the global sources are among what is determined anyhow.
    """

    def __init__(self, loss: Callable[..., Any], seed: int, generators: list[Generator]) -> None:
        self._loss, self._seed, self._generators = loss, seed, generators

    def __call__(self, output: Any, target: Any) -> Any:
        with drawing(_key(self._seed, target), self._generators):
            return self._loss(output, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loss, name)


@contextmanager
def drawing(key: int, generators: list[Generator]) -> Iterator[None]:
    """The global sources and these generators start at the key, and are put back afterwards."""
    before = [_state(generator) for generator in generators]
    try:
        with seeded(tuple(SOURCES), key):
            for generator in generators:
                _put(generator, _seeded_like(generator, key))
            yield
    finally:
        for generator, state in zip(generators, before, strict=True):
            _put(generator, state)


@singledispatch
def _state(generator: Any) -> Any:
    """The state of a generator that is none of the global ones."""
    return generator.get_state()


@_state.register
def _(generator: random.Random) -> Any:
    return generator.getstate()


@_state.register
def _(generator: np.random.Generator) -> Any:
    return generator.bit_generator.state


@singledispatch
def _put(generator: Any, state: Any) -> None:
    generator.set_state(state)


@_put.register
def _(generator: random.Random, state: Any) -> None:
    generator.setstate(state)


@_put.register
def _(generator: np.random.Generator, state: Any) -> None:
    generator.bit_generator.state = state


@singledispatch
def _seeded_like(generator: Any, key: int) -> Any:
    """The state of such a generator that starts at the key."""
    return torch.Generator(generator.device).manual_seed(key).get_state()


@_seeded_like.register
def _(generator: random.Random, key: int) -> Any:
    return random.Random(key).getstate()


@_seeded_like.register
def _(generator: np.random.Generator, key: int) -> Any:
    return type(generator.bit_generator)(key).state


class Recorded(TorchDispatchMode):
    """A context that keeps what is drawn in it.

    Attributes:
        drawn: the random operations and their numbers.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.drawn: Drawn = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if _draws(func):
            self.drawn.append((func, result.clone()))
        return result


class Replayed(TorchDispatchMode):
    """A context in which each random operation gives the numbers that it gave in the micro-batches, one behind the other.

    Raises:
        NoReplay: where these are not what is asked for, as for one random number for each batch.
    """

    def __init__(self, recorded: list[Drawn]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if len({len(drawn) for drawn in recorded}) != 1:
            raise NoReplay
        self._waiting = list(zip(*recorded, strict=True))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not _draws(func):
            return result
        calls = self._waiting.pop(0) if self._waiting else ()
        if not calls or any(other is not func for other, _ in calls):
            raise NoReplay
        drawn = [numbers for _, numbers in calls]
        if func.overloadpacket is torch.ops.aten.randperm:  # each micro-batch by itself is a permutation of the whole, too
            starts = itertools.accumulate((len(numbers) for numbers in drawn[:-1]), initial=0)
            drawn = [numbers + start for numbers, start in zip(drawn, starts, strict=True)]
        return result.copy_(_together(drawn, result.shape))


def _together(drawn: list[Tensor], shape: torch.Size) -> Tensor:
    # The samples may run along any axis, such as the second of noise of the shape (draws, samples).
    for axis in range(len(shape)):
        if all(one.ndim == len(shape) and one.shape[:axis] == shape[:axis] for one in drawn):
            rest = all(one.shape[axis + 1 :] == shape[axis + 1 :] for one in drawn)
            if rest and sum(one.shape[axis] for one in drawn) == shape[axis]:
                return torch.cat(drawn, axis)
    raise NoReplay


def _draws(func: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags


def _key(seed: int, target: Any) -> int:
    found = hashlib.blake2b(str(seed).encode(), digest_size=6)
    for leaf in pytree.tree_leaves(target):
        if isinstance(leaf, Tensor):
            found.update(str(tuple(leaf.shape)).encode())
            found.update(leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return int.from_bytes(found.digest(), "big")
