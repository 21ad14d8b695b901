"""The chain rule as a sum over paths: from an output back to one unit, through the local derivative of every layer between.

    ∂Y_k/∂H_i = Σ over paths of the product of the factors along the path

A path names one unit after each layer. Through an activation it stays at its unit, with the slope as factor; through a Linear
layer it goes to any unit j of the input, with W_ij as factor. There may be far too many paths to visit; the largest of them,
the sum of all, and the sum of all but the largest are found layer by layer nevertheless.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nets.calculus.layers import Linear
from nets.calculus.network import Network

SHOWN = 5
"""Paths that are shown; all of them where there are no more."""


@dataclass(frozen=True)
class Link:
    """∂(output of a layer)/∂(its input) for one sample: shape (I, J), or the diagonal alone, shape (I,), for an activation."""

    layer: int
    local: Tensor

    @property
    def mixes(self) -> bool:
        """Whether a unit depends on others than itself."""
        return self.local.ndim == 2


@dataclass(frozen=True)
class Path:
    """One way from Y_k back: the unit after each layer, last layer first, and the product of the factors along it."""

    units: tuple[int, ...]
    product: float


@dataclass(frozen=True)
class Paths:
    """All ways from an output to a unit.

    Attributes:
        shown: the largest ones, by the absolute value of their product.
        rest: the sum of all others, which is computed by itself and is no difference.
        count: how many there are in all.
    """

    shown: tuple[Path, ...]
    rest: float
    count: int

    @property
    def total(self) -> float:
        """The sum over all paths."""
        return sum(path.product for path in self.shown) + self.rest


def links(network: Network, values: list[Tensor], start: int) -> list[Link]:
    """The local derivatives of the layers from `start` on, first to last, from the layers' own pullbacks.

    Args:
        network: the layers.
        values: X and the output of every layer, for one sample, each of shape (units,).
        start: the first layer that counts.
    """
    found = []
    for index in range(start, len(network)):
        layer, x, y = network.layers[index], values[index], values[index + 1]
        # An activation's pullback of ones is its slopes, the diagonal; that of the unit vectors is the whole matrix.
        v = torch.eye(len(y), dtype=y.dtype, device=y.device) if isinstance(layer, Linear) else torch.ones_like(y)
        found.append(Link(index, layer.pullback(v, x, y).detach()))
    return found


def paths(chain: list[Link], output: int, target: int, size: int) -> Paths:
    """Every path from unit `output` after the last link to unit `target`, one of `size`, before the first."""
    mixing = [link for link in chain if link.mixes]
    if not mixing and output != target:
        return Paths((), 0.0, 0)
    count = 1
    for link in mixing[1:]:
        count *= link.local.shape[1]
    reach = [torch.zeros(size, dtype=torch.float64)]
    reach[0][target] = 1
    largest = {target: [Path((target,), 1.0)]}
    for link in chain:
        wanted = [output] if link is chain[-1] else range(len(link.local)) if link.mixes else list(largest)
        largest = _extended(link, wanted, largest)
        reach.append(link.local @ reach[-1] if link.mixes else link.local * reach[-1])
    shown = largest[output]
    return Paths(tuple(shown), _rest(chain, reach, 1.0, output, [path.units for path in shown]), count)


def _extended(link: Link, wanted: Sequence[int], below: dict[int, list[Path]]) -> dict[int, list[Path]]:
    """The largest paths to each of the wanted units after the link, from the largest to each unit before it."""
    if not link.mixes:
        slopes = link.local.tolist()
        return {u: [Path((u, *path.units), slopes[u] * path.product) for path in below[u]] for u in wanted}
    known = [path for own in below.values() for path in own]
    units = torch.tensor([path.units[0] for path in known])
    products = torch.tensor([path.product for path in known], dtype=torch.float64)
    found = {}
    for unit in wanted:
        longer = link.local[unit, units] * products
        best = longer.abs().topk(min(SHOWN, len(known))).indices.tolist()
        found[unit] = [Path((unit, *known[one].units), float(longer[one])) for one in best]
    return found


def _rest(chain: list[Link], reach: list[Tensor], product: float, unit: int, shown: list[tuple[int, ...]]) -> float:
    """The sum over the paths that leave every shown path somewhere: at each unit on a shown path, over the inputs not on one."""
    if not chain:
        return 0.0
    *before, link = chain
    if not link.mixes:
        return _rest(before, reach, product * float(link.local[unit]), unit, [units[1:] for units in shown])
    left = link.local[unit] * reach[len(before)]
    followed = dict.fromkeys(units[1] for units in shown)
    left[list(followed)] = 0
    rest = product * float(left.sum())
    for one in followed:
        onward = [units[1:] for units in shown if units[1] == one]
        rest += _rest(before, reach, product * float(link.local[unit, one]), one, onward)
    return rest
