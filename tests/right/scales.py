"""Right modules whose rows differ in size or in noise, and such as stand close to a kink: nearer than a fixed step."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nets
from tests.building import Make, Written, built, normal, shaped


class Headed(nn.Module):
    """Two outputs: one as it is, and one through a normalization over the batch, where gradients cancel."""

    def __init__(self, head_first: bool) -> None:
        super().__init__()
        self.head_first = head_first
        self.body, self.head = (
            nn.Linear(3, 3),
            nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 1)),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x).tanh()
        return (self.head(h), h) if self.head_first else (h, self.head(h))


def with_a_row_of_zeros(generator: torch.Generator) -> Tensor:
    x = normal(generator, 3, 3)
    x[1] = 0
    return x


def nearly_tied(generator: torch.Generator) -> Tensor:
    """Pairs of numbers that differ by 1e-6 or so."""
    return normal(generator, 2, 2, 4).repeat_interleave(2, -1) + 1e-6 * normal(generator, 2, 2, 8)


def small(gain: float) -> nn.Module:
    """A rectified network with all weights and biases scaled."""
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    for parameter in module.parameters():
        parameter.data.mul_(gain)
    return module


def _mlp(gain: float) -> Make:
    return lambda r: (
        nets.mlp([3, 5, 2], activation="relu", gain=gain, generator=r).double(),
        (normal(r, 4, 3),),
    )


def graded(generator: torch.Generator) -> Tensor:
    return normal(generator, 4, 3) * torch.logspace(0, -9, 4, dtype=torch.float64)[:, None]


SCALES: dict[str, Make] = {
    "softplus just above its threshold": lambda r: (
        Written(lambda m, x: F.softplus(x)),
        (20 + torch.tensor([1e-9, 1e-7, 1e-5]).double() * (1 + torch.rand(3, generator=r)),),
    ),
    "a log-softmax whose sum is nearly one": lambda r: (
        Written(lambda m, x: x.log_softmax(-1)),
        (normal(r, 3, 4) + torch.tensor([7.0, 0, 0, 0]).double(),),
    ),
    "a pseudoinverse of complex numbers": lambda r: (
        Written(lambda m, x: torch.linalg.pinv(x)),
        (torch.randn(3, 3, generator=r, dtype=torch.complex128),),
    ),
    "two outputs, the second through batch norm": built(lambda: Headed(False), shaped(8, 3)),
    "two outputs, the first through batch norm": built(lambda: Headed(True), shaped(8, 3)),
    "normalize, with a row of zeros": lambda r: (
        Written(lambda m, x: F.normalize(x, dim=-1)),
        (with_a_row_of_zeros(r),),
    ),
    "samples from 1 to 1e-9": lambda r: (
        Written(lambda m, x: (x @ m.weight).exp() - 1, weight=normal(r, 3, 2)),
        (graded(r),),
    ),
    "rectified, weights of 1e-3": built(lambda: small(1e-3), shaped(4, 4)),
    "rectified, weights of 1e-4": built(lambda: small(1e-4), shaped(4, 4)),
    "nets.mlp, rectified, a gain of 1e-3": _mlp(1e-3),
    "nets.mlp, rectified, a gain of 1e-4": _mlp(1e-4),
    "leaky relu of 1e-10": built(nn.LeakyReLU, shaped(4, 10, scale=1e-10)),
    "relu of 1e-10": built(nn.ReLU, shaped(4, 10, scale=1e-10)),
    "soft shrink at 1e-9": built(lambda: nn.Softshrink(1e-9), shaped(4, 6, scale=2e-9)),
    "max pool, nearly tied": lambda r: (nn.MaxPool1d(2), (nearly_tied(r),)),
}
