"""All micro-batches as one batch, the outputs of that batch micro-batch by micro-batch, and why inputs cannot be
concatenated."""

import functools
import itertools
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from nets.torch_internals import pytree
from nets.verification.accumulation.window.micro_batches import Pair


def joined_inputs(pairs: list[Pair], single: bool) -> tuple[list[Any], str]:
    """The candidates for the input of the whole batch, and why there is none ('' where there is one).

    Tensors are concatenated along the first axis. A list may hold samples, so that the lists are chained, or parts of
    one input, whose tensors are concatenated. Both are candidates, and the outputs show which one is right.
    """
    inputs = [given for given, _ in pairs]
    if len(pairs) == 1:
        return inputs, ""
    if any(isinstance(given, PackedSequence) for given in inputs):
        return [], "the first axis of a PackedSequence runs over the steps of its sequences, not over samples"
    listed = single or any(map(has_lists, inputs))
    if not listed and any(len({len(leaf) for leaf in _tensors(given)}) > 1 for given in inputs):
        return (
            [],
            "the tensors of an input differ in the size of their first axis, so it is not the samples' axis in all",
        )
    candidates = [_chained(inputs, single)] * listed + [concatenated(inputs)]
    found = [candidate for candidate in candidates if candidate is not None]
    return found, "" if found else f"their inputs have shapes such as {_shapes(inputs)}"


def split(outputs: Any, sizes: tuple[int, ...]) -> list[Any] | None:
    """The outputs of each micro-batch within the outputs of the whole batch.

    Args:
        outputs: of the whole batch.
        sizes: N_m, the samples of each micro-batch.

    Returns:
        None unless the first axis of every output has the size k Σ_m N_m for some whole number k.
    """
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
    """Whether an input contains a list, other than one that holds several arguments."""
    return any(isinstance(leaf, list) for leaf in _flatten_to_lists(given, single=False)[0])


def joined_outputs(outputs: list[Any]) -> Any:
    """The outputs of all micro-batches, concatenated; None where one of them is a scalar, without an axis of
    samples."""
    scalars = any(isinstance(leaf, Tensor) and not leaf.ndim for leaf in pytree.tree_leaves(outputs))
    return None if scalars else concatenated(outputs)


def concatenated(trees: list[Any]) -> Any:
    """Nested structures with their tensors concatenated along the first axis; None where that is not possible.

    Leaves that are no tensors, or have no axis, must be equal in all structures.
    """
    flat = [pytree.tree_flatten(tree) for tree in trees]
    structure = flat[0][1]
    if any(other != structure for _, other in flat):
        return None
    joined = []
    for leaves in zip(*(leaves for leaves, _ in flat), strict=True):
        if not isinstance(leaves[0], Tensor) or not leaves[0].ndim:
            if not all(map(functools.partial(_equal, leaves[0]), leaves)):
                return None
            joined.append(leaves[0])
            continue
        try:
            joined.append(torch.cat(leaves))
        except (RuntimeError, TypeError):
            return None
    return pytree.tree_unflatten(joined, structure)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one, other)
    return bool(one == other)


def _flatten_to_lists(given: Any, single: bool) -> tuple[list[Any], Any]:
    """The leaves of an input and its structure. A list is a leaf, unless it holds several arguments."""
    return pytree.tree_flatten(given, is_leaf=lambda value: isinstance(value, list) and (single or value is not given))


def _chained(inputs: list[Any], single: bool) -> Any:
    """The inputs as one, with lists chained and tensors concatenated; None where that is not possible."""
    flat = [_flatten_to_lists(given, single) for given in inputs]
    structure = flat[0][1]
    if any(other != structure for _, other in flat):
        return None
    joined = []
    for leaves in zip(*(leaves for leaves, _ in flat), strict=True):
        if isinstance(leaves[0], list):
            joined.append([item for leaf in leaves for item in leaf])
            continue
        rest = concatenated(list(leaves))
        if rest is None and leaves[0] is not None:
            return None
        joined.append(rest)
    return pytree.tree_unflatten(joined, structure)


def different_shapes(trees: list[Any]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Two shapes at the same place of two structures that differ in another axis than the first; None if there are
    none."""
    for leaves in zip(*map(_tensors, trees), strict=False):
        for leaf in leaves[1:]:
            if leaf.shape[1:] != leaves[0].shape[1:]:
                return tuple(leaves[0].shape), tuple(leaf.shape)
    return None


def _shapes(trees: list[Any]) -> str:
    """Two shapes that cannot be concatenated, in words."""
    found = different_shapes(trees) or [[tuple(leaf.shape) for leaf in _tensors(tree)] for tree in trees[:2]]
    return " and ".join(map(str, found))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.ndim]
