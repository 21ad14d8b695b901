"""The right modules that take more than a line."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.building import Written


def twice() -> nn.Module:
    shared = nn.Linear(3, 3)
    return nn.Sequential(shared, nn.Tanh(), shared)


class Centred(nn.Module):
    """X less its mean, which also moves a running mean that nothing depends on, and counts the calls."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.calls: Tensor
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(0)
        with torch.no_grad():
            self.mean.lerp_(mean, 0.1)
            self.calls += 1
        return (x - mean).sin()


class Standardized(nn.Module):
    """(X − μ) / σ with both as buffers."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.full((features,), 0.3, dtype=torch.float64))
        self.register_buffer("deviation", torch.full((features,), 1.7, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


class Routed(nn.Module):
    """Each sample goes through the expert that a gate prefers, weighted by the gate."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.gate = nn.Linear(inputs, 2)
        self.experts = nn.ModuleList([nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)])

    def forward(self, x: Tensor) -> Tensor:
        weight, choice = self.gate(x).softmax(-1).max(-1)
        outputs = torch.stack([expert(x) for expert in self.experts], 1)
        return outputs[torch.arange(len(x)), choice] * weight[:, None]


class Rotary(nn.Module):
    """Pairs of features turned by an angle that grows with the position; the angles are kept from the first call on."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.angles: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.angles is None:
            rates = 0.3 ** torch.arange(self.features // 2, dtype=torch.float64)
            self.angles = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * rates
        a, b = x.chunk(2, -1)
        cos, sin = self.angles.cos(), self.angles.sin()
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Remembering(nn.Linear):
    """Linear, which keeps its last output, graph and all, for whoever wants to look."""

    last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.last = super().forward(x).tanh()
        return self.last


def watched() -> nn.Module:
    """One hook of every kind, and none of them changes anything."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    seen: list[Any] = []
    model[0].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].shape))
    model[1].register_forward_hook(lambda layer, inputs, output: seen.append(output.shape))
    model[2].register_full_backward_hook(lambda layer, inputs, outputs: seen.append(outputs[0].shape))
    model[2].weight.register_hook(lambda g: seen.append(g.shape))
    return model


def doubled_by_a_hook() -> nn.Module:
    model = nn.Linear(3, 2)
    model.register_forward_hook(lambda layer, inputs, output: 2 * output)
    return model


def log_density(module: Written, x: Tensor) -> Tensor:
    """Of a normal distribution with the covariance R Rᵀ + 1."""
    covariance = module.root @ module.root.T + torch.eye(3, dtype=torch.float64)
    factor = torch.linalg.cholesky(covariance)
    scaled = torch.linalg.solve_triangular(factor, x[:, None], upper=False)
    return torch.stack([scaled.square().sum(), torch.linalg.slogdet(covariance).logabsdet])


def written_in_place(module: Written, x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1:3] *= module.weight
    y[:, 0].add_(x[:, 3].sin())
    return y


def fixed_point(module: Written, x: Tensor) -> Tensor:
    """√X by Newton's iteration, which stops when it has settled."""
    y = torch.ones_like(x)
    for _ in range(50):
        following = (y + x / y) / 2
        if (following - y).abs().max() < 1e-14:
            break
        y = following
    return y


@torch.no_grad()
def without_graph(count: int) -> float:
    return float(torch.ones(count).sum())


class Tanh(torch.autograd.Function):
    """In the old style, with nothing but a backward pass."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        y = z.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return upstream * (1 - y * y)


class SlopedTanh(torch.autograd.Function):
    """In the new style, with forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return z.tanh()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return upstream * (1 - y * y)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return tangent * (1 - y * y)


class VmappedTanh(torch.autograd.Function):
    """In the new style, with a rule for vmap of its own and no forward mode."""

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return z.tanh()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return upstream * (1 - y * y)

    @staticmethod
    def vmap(info: Any, axes: tuple[int | None], z: Tensor) -> tuple[Tensor, int | None]:
        return VmappedTanh.apply(z), axes[0]
