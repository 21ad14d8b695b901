"""Inputs that are whole numbers and only name groups, such as the document of each token: other names for the same groups change
nothing. Put together as they are, groups of different micro-batches with the same name would become one."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nets.verification.accumulation.joining import Pair
from nets.verification.accumulation.window import Window
from nets.verification.problem.pytree import as_real, differentiable


def told_apart(window: Window) -> list[Pair] | None:
    """The micro-batches with other names in each; None where no input consists of names."""
    flat = [pytree.tree_flatten(given) for given, _ in window.pairs]
    places = range(min(len(leaves) for leaves, _ in flat))
    names = [i for i in places if all(_whole(leaves[i]) for leaves, _ in flat)]
    names = [i for i in names if all(_only_names(window, m, i) for m, size in enumerate(window.sizes) if size)]
    if not names:
        return None
    renamed, shift = [], 0
    for (leaves, structure), (_, target) in zip(flat, window.pairs, strict=True):
        moved = [leaf + shift if i in names else leaf for i, leaf in enumerate(leaves)]
        shift += max((_span(leaves[i]) for i in names), default=0)
        renamed.append((pytree.tree_unflatten(moved, structure), target))
    return renamed


def _only_names(window: Window, m: int, place: int) -> bool:
    """Whether other names give the same outputs of a micro-batch alone."""
    leaves, structure = pytree.tree_flatten(window.pairs[m][0])
    moved = [leaf + _span(leaf) if i == place else leaf for i, leaf in enumerate(leaves)]
    try:
        outputs = window.forward(pytree.tree_unflatten(moved, structure))
    except Exception:  # whatever a module raises for numbers that are more than names, such as indices
        return False
    one, other = (
        [as_real(leaf) for leaf in pytree.tree_leaves(tree) if differentiable(leaf)] for tree in (window.alone[m], outputs)
    )
    return [leaf.shape for leaf in one] == [leaf.shape for leaf in other] and all(map(torch.allclose, one, other))


def _whole(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0 and not differentiable(leaf) and leaf.dtype != torch.bool


def _span(leaf: Tensor) -> int:
    return int(leaf.max()) - min(int(leaf.min()), 0) + 1 if leaf.numel() else 0
