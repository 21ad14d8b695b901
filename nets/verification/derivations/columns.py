"""A Jacobian from directional derivatives ∂Y/∂t, one for each entry of a point."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.func import vmap

from nets.verification.attempt import attempt

CHUNK = 2**20
"""The most numbers in a batch of moved points, eight megabytes. Larger batches are not faster."""

Along = Callable[[Tensor], Tensor]
"""t → ∂Y/∂t, shape (M,), for a direction t of the shape of the point."""


def batched_columns(point: Tensor, along: Along) -> Tensor | None:
    """∂Y/∂point, shape (M, P), many directions at a time under vmap; None where the module cannot be batched."""
    with torch.no_grad():
        return attempt(lambda: torch.cat([vmap(along)(t) for t in _unit_directions(point)]).mT).or_none()


def single_columns(point: Tensor, along: Along) -> Tensor | None:
    """∂Y/∂point, shape (M, P), one direction at a time; None where the module has no such derivative."""
    return directional(along, (t for directions in _unit_directions(point) for t in directions))


def directional(along: Along, directions: Iterable[Tensor]) -> Tensor | None:
    """∂Y/∂t for each direction t, shape (M, T); None where the module has no such derivative."""
    with torch.no_grad():
        return attempt(lambda: torch.stack([along(t) for t in directions], 1)).or_none()


def _unit_directions(point: Tensor) -> Iterator[Tensor]:
    """One direction for each entry of the point, as many at a time as fit CHUNK."""
    count = point.numel()
    width = max(1, min(count, CHUNK // count))
    for start in range(0, count, width):
        entries = torch.arange(start, min(start + width, count))
        directions = torch.zeros(len(entries), count, dtype=point.dtype)
        directions[torch.arange(len(entries)), entries] = 1
        yield directions.reshape(len(entries), *point.shape)
