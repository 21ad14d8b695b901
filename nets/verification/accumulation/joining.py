"""Micro-batches: how they are copied, called, cut into samples and put together, or why they may not be."""

import functools
import inspect
import itertools
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from nets.errors import InputError
from nets.verification.problem.copies import copied_input

Pair: TypeAlias = tuple[Any, Any]


def copied_pair(number: int, given: Any) -> Pair:
    """A micro-batch in double precision on the CPU.

    Raises:
        InputError: for what is no pair of an input and a target with tensors in them.
    """
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise InputError(f"micro-batch {number} is {_kind(given)}; expected a pair, (input, target).")
    for part in given:
        if not any(isinstance(leaf, Tensor) and leaf.ndim for leaf in pytree.tree_leaves(part)):
            raise InputError(
                f"micro-batch {number} has {_kind(part)} in it; expected tensors with the samples along their first axis."
            )

    def copied(leaf: Any) -> Any:
        twin = copied_input(f"micro-batch {number}", leaf, torch.float64)
        return twin.requires_grad_(leaf.requires_grad) if isinstance(leaf, Tensor) else twin

    return pytree.tree_map(copied, given[0]), pytree.tree_map(copied, given[1])


def cloned(tree: Any) -> Any:
    """The same with tensors of its own."""
    return pytree.tree_map(lambda x: x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x, tree)


def call(module: nn.Module, given: Any, one: bool) -> Any:
    """`module(input)`, with several inputs where they are a tuple, a list or a dict, and not one argument."""
    if one:
        return module(given)
    if isinstance(given, tuple | list):
        return module(*given)
    return module(**given) if isinstance(given, dict) else module(given)


def is_one_argument(module: nn.Module, pairs: list[Pair]) -> bool:
    """Whether a list is one argument, such as a list of images, and not several inputs: it is where its length varies, or where
    the module takes no such number of inputs. A PackedSequence, which is a tuple too, is always one."""
    inputs = [given for given, _ in pairs]
    if any(isinstance(given, PackedSequence) for given in inputs):
        return True
    if not all(isinstance(given, tuple | list) for given in inputs):
        return False
    return len({len(given) for given in inputs}) > 1 or not _takes(module, len(inputs[0]))


def _takes(module: nn.Module, count: int) -> bool:
    try:
        inspect.signature(module.forward).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # no signature is known
        return True
    return True


def samples(given: Any, one: bool) -> int:
    """N_m: the length of the first axis of the first tensor, or of a list that is one argument."""
    if one and isinstance(given, list):
        return len(given)
    if isinstance(given, PackedSequence):
        return int(given.batch_sizes[0])
    return next(len(leaf) for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor) and leaf.ndim)


def candidates(pairs: list[Pair], one: bool) -> tuple[list[Any], str]:
    """The inputs of all micro-batches as one, in the ways in which that may be done; and why there is none.

    Tensors are put end to end along the first axis. A list may hold samples, and is then lengthened, or parts of an input, whose
    tensors are then put end to end; which of the two is right, the outputs tell.
    """
    inputs = [given for given, _ in pairs]
    if len(pairs) == 1:
        return inputs, ""
    if any(isinstance(given, PackedSequence) for given in inputs):
        return [], "a PackedSequence holds the steps of its sequences, not samples, along the first axis"
    listed = one or any(map(has_lists, inputs))
    if not listed and any(len({len(leaf) for leaf in _tensors(given)}) > 1 for given in inputs):
        return [], "the tensors of an input differ in their first axis, which is then not that of the samples in all of them"
    ways = [_lengthened(inputs, one)] * listed + [concatenated(inputs)]
    found = [way for way in ways if way is not None]
    return found, "" if found else f"their inputs have shapes such as {_shapes(inputs)}"


def cut(outputs: Any, sizes: tuple[int, ...]) -> list[Any] | None:
    """The outputs of each micro-batch, where the first axis of every output runs over the samples, or over so many of each."""
    leaves, structure = pytree.tree_flatten(outputs)
    total = sum(sizes)
    if not all(isinstance(leaf, Tensor) and leaf.ndim and len(leaf) % total == 0 for leaf in leaves):
        return None
    ends = list(itertools.accumulate(sizes))
    return [
        pytree.tree_unflatten([leaf[(end - n) * (k := len(leaf) // total) : end * k] for leaf in leaves], structure)
        for end, n in zip(ends, sizes, strict=True)
    ]


def has_lists(given: Any) -> bool:
    """Whether there is a list inside an input, other than one that holds several inputs."""
    return any(isinstance(leaf, list) for leaf in _with_lists(given, one=False)[0])


def end_to_end(outputs: list[Any]) -> Any:
    """The outputs of all micro-batches as those of one; None where one of them has no axis of samples."""
    scalars = any(isinstance(leaf, Tensor) and not leaf.ndim for leaf in pytree.tree_leaves(outputs))
    return None if scalars else concatenated(outputs)


def concatenated(trees: list[Any]) -> Any:
    """Their tensors end to end; None where that cannot be. What is no tensor, or has no axis, must be the same in all."""
    flat = [pytree.tree_flatten(tree) for tree in trees]
    structure = flat[0][1]
    if any(other != structure for _, other in flat):
        return None
    together = []
    for leaves in zip(*(leaves for leaves, _ in flat), strict=True):
        if not isinstance(leaves[0], Tensor) or not leaves[0].ndim:
            if not all(map(functools.partial(_alike, leaves[0]), leaves)):
                return None
            together.append(leaves[0])
            continue
        try:
            together.append(torch.cat(leaves))
        except (RuntimeError, TypeError):
            return None
    return pytree.tree_unflatten(together, structure)


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one, other)
    return bool(one == other)


def _with_lists(given: Any, one: bool) -> tuple[list[Any], Any]:
    """The leaves of an input and its structure, a list being a leaf, other than one that holds several inputs."""
    return pytree.tree_flatten(given, is_leaf=lambda value: isinstance(value, list) and (one or value is not given))


def _lengthened(inputs: list[Any], one: bool) -> Any:
    """The lists of all inputs as one, and their tensors end to end."""
    flat = [_with_lists(given, one) for given in inputs]
    structure = flat[0][1]
    if any(other != structure for _, other in flat):
        return None
    together = []
    for leaves in zip(*(leaves for leaves, _ in flat), strict=True):
        if isinstance(leaves[0], list):
            together.append([item for leaf in leaves for item in leaf])
            continue
        rest = concatenated(list(leaves))
        if rest is None and leaves[0] is not None:
            return None
        together.append(rest)
    return pytree.tree_unflatten(together, structure)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.ndim]


def _shapes(trees: list[Any]) -> str:
    """Two shapes that stand at the same place and do not go together."""
    for leaves in zip(*map(_tensors, trees), strict=False):
        for leaf in leaves[1:]:
            if leaf.shape[1:] != leaves[0].shape[1:]:
                return f"{tuple(leaves[0].shape)} and {tuple(leaf.shape)}"
    return " and ".join(str([tuple(leaf.shape) for leaf in _tensors(tree)]) for tree in trees[:2])


def _kind(given: Any) -> str:
    return f"a {type(given).__name__}" + (f" of {len(given)}" if isinstance(given, tuple | list) else "")
