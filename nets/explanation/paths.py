"""The chain rule as a sum over paths: from an output back to a unit, through the local derivative of every layer.

    ∂Y_k/∂H_i = Σ over paths of the product of the factors along the path

A path names one unit after each layer. Through an elementwise layer it stays at its unit, with the slope as factor;
through any other layer it goes to any unit j of the input, with ∂Z_i/∂X_j as factor: W_ij for a Linear layer. The
number of paths grows exponentially with the depth. The largest paths, their number, the sum of all, and the sum of all
but the largest are computed layer by layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nets.calculus.network import Network
from nets.errors import InputError
from nets.text import one_line

MAX_SHOWN = 5
"""Paths that are kept one by one, the largest first."""


@dataclass(frozen=True)
class LocalJacobian:
    """∂(output of a layer)/∂(its input) for one sample.

    Attributes:
        layer: the index of the layer.
        values: the matrix, shape (I, J); its diagonal, shape (I,), for an elementwise layer.
    """

    layer: int
    values: Tensor

    @property
    def dense(self) -> bool:
        """Whether an output unit may depend on every input unit."""
        return self.values.ndim == 2

    def sources(self, unit: int) -> Sequence[int]:
        """The input units that an output unit depends on."""
        return range(self.values.shape[1]) if self.dense else (unit,)

    def entry(self, unit: int, source: int) -> Tensor:
        """∂(output unit)/∂(input unit), for one of its `sources`."""
        return self.values[unit, source] if self.dense else self.values[unit]


@dataclass(frozen=True)
class Path:
    """One path from Y_k back: the unit after each layer, last layer first, and the product of the factors along it."""

    units: tuple[int, ...]
    product: float


@dataclass(frozen=True)
class Paths:
    """All paths from an output to the targets.

    Attributes:
        shown: the largest ones, by the absolute value of their product.
        rest: the sum of all others, computed directly and not as a difference.
        count: the number of all paths.
    """

    shown: tuple[Path, ...]
    rest: float
    count: int

    @property
    def total(self) -> float:
        """The sum over all paths."""
        return sum(path.product for path in self.shown) + self.rest


@torch.no_grad()
def local_jacobians(network: Network, values: list[Tensor], start: int) -> list[LocalJacobian]:
    """The local derivatives of the layers from `start` on, first to last, with flattened samples.

    Args:
        network: the layers.
        values: X and the output of every layer, for a batch of one sample.
        start: the first layer.

    Raises:
        InputError: if a pullback fails, or returns another shape than the input's.
    """
    return [LocalJacobian(i, _local_jacobian(network, i, *values[i : i + 2])) for i in range(start, len(network))]


def _local_jacobian(network: Network, index: int, x: Tensor, y: Tensor) -> Tensor:
    layer = network.layers[index]
    if not x.is_floating_point():  # nothing is differentiated by whole numbers, such as tokens
        return torch.zeros(y.numel(), 0, dtype=y.dtype)
    shape = (y.numel(),) if layer.elementwise else (y.numel(), x.numel())
    try:
        local = layer.local_jacobian(x, y)[0]
        error = "" if tuple(local.shape) == shape else f"returns derivatives of the shape {tuple(local.shape)}"
    except (RuntimeError, IndexError) as failure:
        error = f"fails with {one_line(failure)}"
    if error:
        raise InputError(
            f"the pullback of layer {list(network.parts)[index]}, a {type(layer).__name__}, {error}; expected v of any "
            f"shape (…, {', '.join(map(str, y.shape))}) → Σ_i v_i ∂Y_i/∂X_j of the shape "
            f"(…, {', '.join(map(str, x.shape))})."
        )
    return local


def paths_between(chain: list[LocalJacobian], output: int, targets: Mapping[int, float], size: int) -> Paths:
    """Every path from unit `output` after the last layer to one of the targets before the first.

    Args:
        chain: the local derivatives of the layers between, first to last.
        output: a unit after the last layer.
        targets: unit before the first layer → a last factor of every path that ends there.
        size: the number of units before the first layer.
    """
    dense = [local for local in chain if local.dense]
    if not dense and output not in targets:
        return Paths((), 0.0, 0)
    count = len(targets) if dense else 1
    for local in dense[1:]:
        count *= local.values.shape[1]
    derivatives = [torch.zeros(size, dtype=torch.float64)]  # Σ over the targets, by each unit after each layer
    derivatives[0][list(targets)] = torch.tensor(list(targets.values()), dtype=torch.float64)
    largest = {unit: [Path((unit,), factor)] for unit, factor in targets.items()}
    for local in chain:
        wanted = [output] if local is chain[-1] else range(len(local.values)) if local.dense else list(largest)
        largest = _extended(local, wanted, largest)
        below = derivatives[-1]
        derivatives.append(local.values @ below if local.dense else local.values * below)
    shown = [path for path in largest[output] if path.product != 0] or largest[output][:1]
    return Paths(tuple(shown), _rest(chain, derivatives, 1.0, output, [path.units for path in shown]), count)


def _extended(local: LocalJacobian, wanted: Sequence[int], below: dict[int, list[Path]]) -> dict[int, list[Path]]:
    """The largest paths to each of the wanted units after a layer, from the largest to each unit before it."""
    if not local.dense:
        slopes = local.values.tolist()
        return {u: [Path((u, *path.units), slopes[u] * path.product) for path in below[u]] for u in wanted}
    known = [path for own in below.values() for path in own]
    units = torch.tensor([path.units[0] for path in known])
    products = torch.tensor([path.product for path in known], dtype=torch.float64)
    found = {}
    for unit in wanted:
        longer = local.values[unit, units] * products
        best = longer.abs().topk(min(MAX_SHOWN, len(known))).indices.tolist()
        found[unit] = [Path((unit, *known[index].units), float(longer[index])) for index in best]
    return found


def _rest(
    chain: list[LocalJacobian], derivatives: list[Tensor], product: float, unit: int, shown: list[tuple[int, ...]]
) -> float:
    """The sum over all paths but the shown ones.

    Each other path leaves the shown ones at some unit. So at each unit on a shown path, add up the input units that no
    shown path continues to: the local derivative times the derivative of that unit by the target.
    """
    if not chain:
        return 0.0
    *before, local = chain
    if not local.dense:
        onward = [units[1:] for units in shown]
        return _rest(before, derivatives, product * float(local.values[unit]), unit, onward)
    left = local.values[unit] * derivatives[len(before)]
    followed = dict.fromkeys(units[1] for units in shown)
    left[list(followed)] = 0
    rest = product * float(left.sum())
    for source in followed:
        onward = [units[1:] for units in shown if units[1] == source]
        rest += _rest(before, derivatives, product * float(local.values[unit, source]), source, onward)
    return rest
