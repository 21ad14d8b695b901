"""Layers as an author outside of the package writes them: forward, pullback, and gradients where there are parameters."""

import torch
from torch import Tensor, nn

import nets


class Scale(nets.Layer):
    """Y_ni = W_i X_ni."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, width, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * self.weight

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": (v * x).sum(0)}


class PReLU(nets.Layer):
    """Y_ni = X_ni where that is positive, else A_i X_ni."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.1, 0.4, width, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.weight * x)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.where(x > 0, v, v * self.weight)

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": (v * x.clamp(max=0)).sum(0)}


class Swish(nets.Layer):
    """Y_ni = X_ni σ(β_i X_ni)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.linspace(0.5, 2, width, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.beta * x)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        s = torch.sigmoid(self.beta * x)
        return v * (s + self.beta * x * s * (1 - s))

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        s = torch.sigmoid(self.beta * x)
        return {"beta": (v * x * x * s * (1 - s)).sum(0)}


class Softmax(nets.Layer):
    """Y_ni = exp X_ni / Σ_j exp X_nj."""

    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(-1)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return y * (v - (v * y).sum(-1, keepdim=True))


class LayerNorm(nets.Layer):
    """Y_ni = W_i (X_ni − mean_j X_nj) / √(var_j X_nj + ε)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, width, dtype=torch.float64))

    def normal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r = (x.var(-1, correction=0, keepdim=True) + 1e-5).rsqrt()
        return (x - x.mean(-1, keepdim=True)) * r, r

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * self.normal(x)[0]

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        (h, r), u = self.normal(x), v * self.weight
        return r * (u - u.mean(-1, keepdim=True) - h * (u * h).mean(-1, keepdim=True))

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": (v * self.normal(x)[0]).sum(0)}


class CumulativeSum(nets.Layer):
    """Y_ni = Σ_{j ≤ i} X_nj."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(-1)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v.flip(-1).cumsum(-1).flip(-1)


class Cube(nets.Activation):
    """Y = Z³, without a symbol."""

    def forward(self, x: Tensor) -> Tensor:
        return x**3

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        return 3 * z * z


OWN = {
    "Scale": lambda: Scale(4),
    "PReLU": lambda: PReLU(4),
    "Swish": lambda: Swish(4),
    "Softmax": Softmax,
    "LayerNorm": lambda: LayerNorm(4),
    "CumulativeSum": CumulativeSum,
    "Cube": Cube,
}
