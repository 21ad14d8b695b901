"""Integer inputs that only name groups of samples, such as the document of each token.

Other names for the same groups change no output. In the concatenated batch, groups of different micro-batches that have
the same name would become one group, so each micro-batch is given names of its own.
"""

from typing import Any

import torch
from torch import Tensor

from nets.torch_internals import pytree
from nets.verification.accumulation.window.micro_batches import Pair
from nets.verification.accumulation.window.window import Window
from nets.verification.attempt import Unavailable, attempt
from nets.verification.problem.pytree import as_real, differentiable


def relabelled(window: Window) -> list[Pair] | None:
    """The micro-batches with different group labels in each; None where no input consists of group labels."""
    flat = [pytree.tree_flatten(given) for given, _ in window.pairs]
    indices = range(min(len(leaves) for leaves, _ in flat))
    labels = [i for i in indices if all(_is_integer(leaves[i]) for leaves, _ in flat)]
    labels = [i for i in labels if all(_only_labels(window, m, i) for m, size in enumerate(window.sizes) if size)]
    if not labels:
        return None
    found, shift = [], 0
    for (leaves, structure), (_, target) in zip(flat, window.pairs, strict=True):
        shifted = [leaf + shift if i in labels else leaf for i, leaf in enumerate(leaves)]
        shift += max((_span(leaves[i]) for i in labels), default=0)
        found.append((pytree.tree_unflatten(shifted, structure), target))
    return found


def _only_labels(window: Window, m: int, index: int) -> bool:
    """Whether the outputs of a micro-batch stay the same when a constant is added to one of its inputs."""
    leaves, structure = pytree.tree_flatten(window.pairs[m][0])
    shifted = [leaf + _span(leaf) if i == index else leaf for i, leaf in enumerate(leaves)]
    found = attempt(lambda: window.forward(pytree.tree_unflatten(shifted, structure)))
    if isinstance(found, Unavailable):  # the integers are more than labels, such as indices
        return False
    one, other = (
        [as_real(leaf) for leaf in pytree.tree_leaves(tree) if differentiable(leaf)]
        for tree in (window.alone[m], found.value)
    )
    return [leaf.shape for leaf in one] == [leaf.shape for leaf in other] and all(map(torch.allclose, one, other))


def _is_integer(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0 and not differentiable(leaf) and leaf.dtype != torch.bool


def _span(leaf: Tensor) -> int:
    """A constant that moves every label out of the range of the labels."""
    return int(leaf.max()) - min(int(leaf.min()), 0) + 1 if leaf.numel() else 0
