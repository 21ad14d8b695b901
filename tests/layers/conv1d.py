"""A convolution: a sample has a channel axis and a position axis."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nets
from nets.calculus.layers import Linear, Tanh
from tests.layer_case import BEFORE, LayerCase


class Conv1d(nets.Layer):
    """Y_nol = Σ_cs W_ocs X_nc,l+s."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        weight = torch.linspace(-1, 1, outputs * inputs * size, dtype=torch.float64)
        self.weight = nn.Parameter(weight.reshape(outputs, inputs, size).sin())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.weight)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        pulled = F.conv_transpose1d(v.reshape(-1, *v.shape[-2:]), self.weight)
        return pulled.reshape(*v.shape[:-2], *x.shape[-2:])

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        windows = x.unfold(-1, self.weight.shape[-1], 1)
        return {"weight": torch.einsum("nol,ncls->ocs", v, windows)}


class FlippedKernel(Conv1d):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        pulled = F.conv_transpose1d(v.reshape(-1, *v.shape[-2:]), self.weight.flip(-1))
        return pulled.reshape(*v.shape[:-2], *x.shape[-2:])


class FlippedGradient(Conv1d):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": super().gradients(v, x, y)["weight"].flip(-1)}


class WrongSum(Conv1d):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": super().gradients(v, x, y)["weight"] / len(x)}


class Torch(nn.Conv1d):
    def __init__(self) -> None:
        super().__init__(2, 3, 2, bias=False, dtype=torch.float64)
        self.weight.data = Conv1d(2, 3, 2).weight.data


nets.register(Torch, lambda module: Conv1d(2, 3, 2).at({"weight": module.weight}))


def around(layer: nets.Layer) -> list[nets.Layer]:
    """(2, 5) → two channels → the layer → (3, 3), whose positions are mixed by a Linear layer."""
    generator = torch.Generator().manual_seed(2)
    return [Linear(5, 4, generator=generator), layer, Tanh(), Linear(3, 2, generator=generator)]


CASE = LayerCase(
    lambda: Conv1d(2, 3, 2),
    Torch,
    {
        "pullback with the kernel flipped": (lambda: FlippedKernel(2, 3, 2), BEFORE),
        "gradient flipped": (lambda: FlippedGradient(2, 3, 2), {"1.weight"}),
        "sum over samples": (lambda: WrongSum(2, 3, 2), {"1.weight"}),
    },
    around,
    (2, 5),
)
