"""Flatten and Unflatten."""

import torch
from torch import Tensor, nn

import nets
from nets.calculus.layers import Linear, Tanh
from nets.calculus.layers.shape import Flatten, Unflatten
from tests.layer_case import BEFORE, of_torch


class InAnotherOrder(Flatten):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return super().pullback(v.flip(-1), x, y)


class Transposed(Unflatten):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v.mT.reshape(*v.shape[: v.ndim - y.ndim], *x.shape)


def to_vectors(layer: nets.Layer) -> list[nets.Layer]:
    """(2, 2) → (2, 3) → the layer → 6 → 2."""
    generator = torch.Generator().manual_seed(2)
    return [Linear(2, 3, generator=generator), layer, Tanh(), Linear(6, 2, generator=generator)]


def to_matrices(layer: nets.Layer) -> list[nets.Layer]:
    """2 → 6 → the layer → (2, 3) → (2, 2)."""
    generator = torch.Generator().manual_seed(2)
    return [Linear(2, 6, generator=generator), layer, Tanh(), Linear(3, 2, generator=generator)]


CASES = {
    "flatten": of_torch(nn.Flatten, {"in another order": (InAnotherOrder, BEFORE)}, to_vectors, (2, 2)),
    "unflatten": of_torch(lambda: nn.Unflatten(1, (2, 3)), {"transposed": (Transposed, BEFORE)}, to_matrices, (2,)),
}

SETTINGS = {
    "flatten of some axes": (lambda: nn.Flatten(2, -2), (2, 3, 2, 2, 3)),
    "unflatten with a free size": (lambda: nn.Unflatten(-1, (2, -1)), (2, 3, 6)),
}
