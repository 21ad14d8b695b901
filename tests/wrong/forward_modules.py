"""Modules whose backward is right and whose forward mode is missing or cut off."""

import torch
from torch import Tensor, nn


@torch.library.custom_op("nets_tests::square", mutates_args=())
def _square(x: Tensor) -> Tensor:
    return x * x


@_square.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


_square.register_autograd(
    lambda ctx, v: 2 * v * ctx.saved_tensors[0],
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)


class CustomOperator(nn.Linear):
    """(X Wᵀ + b)² by an operator of `torch.library` that has no rule for forward mode, which then silently gives
    zero."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _square(super().forward(x))
        return y


class Forces(nn.Module):
    """−∂E/∂X of an energy, where X is detached if it requires no gradient, which cuts its tangent off."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            if not x.requires_grad:
                x = x.detach().requires_grad_()
            return -torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]
