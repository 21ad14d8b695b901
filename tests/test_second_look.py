"""Faults that one backward pass at one point does not show, and right modules that resemble them.

Each module comes in two sizes: small enough to check every entry, and so large that it is probed.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.records.reason import Reason
from tests.building import Written

SIZES = {"every entry": 4, "probed": 80}


class _Passed(torch.autograd.Function):
    """X Wᵀ, of whose two gradients `rule(v, G_X, G_W, whether X needs one)` makes what it likes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, rule: Callable[..., tuple[Tensor, Tensor]]) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.rule = rule
        return x @ w.mT

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        return *ctx.rule(v, v @ w, v.mT @ x, ctx.needs_input_grad[0]), None


class Product(nn.Module):
    """tanh(X Wᵀ)."""

    def __init__(self, size: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(size, size + 20, generator=generator).double() / size**0.5)
        self.register_buffer("sum", torch.zeros_like(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(_Passed.apply(x, self.weight, self.rule))  # type: ignore[no-untyped-call]

    def rule(self, v: Tensor, x: Tensor, w: Tensor, input_too: bool) -> tuple[Tensor, Tensor]:
        return x, w


class Clamped(Product):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if y.requires_grad:
            y.register_hook(lambda v: v.clamp(-1, 1))
        return y


class Shortened(Product):
    def rule(self, v: Tensor, x: Tensor, w: Tensor, input_too: bool) -> tuple[Tensor, Tensor]:
        return x, w * (2.5 * len(w) ** 0.5 / v.norm()).clamp(max=1)


class InputAlone(Product):
    """Nothing but the gradient that goes on to the layers before is clamped."""

    def rule(self, v: Tensor, x: Tensor, w: Tensor, input_too: bool) -> tuple[Tensor, Tensor]:
        return x.clamp(-7, 7), w


class Doubled(Product):
    def rule(self, v: Tensor, x: Tensor, w: Tensor, input_too: bool) -> tuple[Tensor, Tensor]:
        return x, w if input_too else 2 * w


class Summed(Product):
    """In a buffer, with the sum of all walks so far."""

    def rule(self, v: Tensor, x: Tensor, w: Tensor, input_too: bool) -> tuple[Tensor, Tensor]:
        self.sum += w
        return x, self.sum.clone()


class WrittenToo(Product):
    """`.grad` is set, and the gradient returned as well."""

    def rule(self, v: Tensor, x: Tensor, w: Tensor, input_too: bool) -> tuple[Tensor, Tensor]:
        self.weight.grad = w.clone()
        return x, w


FAULTS: list[tuple[type[Product], set[Reason]]] = [
    (Clamped, {Reason.NOT_LINEAR}),
    (Shortened, {Reason.NOT_LINEAR}),
    (InputAlone, {Reason.NOT_LINEAR}),
    (Doubled, {Reason.OTHER_WHERE_ALONE, Reason.OTHER_WITHOUT_INPUTS}),
    (Summed, {Reason.OTHER_SECOND_WALK}),
    (WrittenToo, {Reason.OTHER_SECOND_GRADIENT}),
]


@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize(("fault", "reasons"), FAULTS, ids=lambda given: getattr(given, "__name__", ""))
def test_a_fault_that_a_second_backward_pass_shows_fails(fault: type[Product], reasons: set[Reason], size: str) -> None:
    for seed in range(3):
        module, x = (
            fault(SIZES[size], seed),
            torch.randn(6, SIZES[size] + 20, generator=torch.Generator().manual_seed(seed)).double(),
        )
        before = [tensor.clone() for tensor in module.state_dict().values()]
        certificate = nets.verify(module, x, seed=seed)
        assert certificate.verdict == "fail" and certificate.decisive.reason in reasons, str(certificate)
        assert module.weight.grad is None and all(map(torch.equal, before, module.state_dict().values()))
        assert nets.verify(Product(SIZES[size], seed), x, seed=seed).passed


class Causal(nn.Module):
    """Attention to earlier positions only: the later ones are masked with −∞."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(size, 3 * size)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), -torch.inf)
        return scores.softmax(-1) @ v


class Padded(nn.Module):
    """PyTorch's own attention, with a mask that hides some keys."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(size, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x, x, x, key_padding_mask=torch.arange(5).expand(2, 5) > 2)[0]
        return y


class Listed(nn.Module):
    """A parameter that stands in a list besides, from which it is read."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(80, size) / size)
        self.weights = [self.weight]

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weights[0].mT)


class Counting(nn.Linear):
    """A frozen parameter counts the calls."""

    def __init__(self, size: int) -> None:
        super().__init__(size, 80)
        self.calls = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.calls.add_(1)
        return torch.tanh(super().forward(x)) / self.calls


class Freed(nn.Module):
    """Its backward lets go of what it kept, so that a graph can be walked but once."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(80, size) / size**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(_Once.apply(x, self.weight))  # type: ignore[no-untyped-call]


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.kept = x, w
        return x @ w.mT

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.kept
        del ctx.kept
        return v @ w, v.mT @ x


class Averaging(nn.Module):
    """A frozen parameter is moved through .data."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, 80)
        self.shift = nn.Parameter(torch.ones(80), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.linear(x) + self.shift)
        self.shift.data.mul_(0.9)
        return y


class Chosen(nn.Module):
    """The largest and the smallest number, and the norm of order ∞: what is chosen is looked for by the backward."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, 80)

    def forward(self, x: Tensor) -> Tensor:
        z = self.linear(x)
        return torch.stack([z.amax(-1), z.amin(-1), z.norm(torch.inf, -1), z.max().expand(len(z))])


class Summing(nn.Module):
    """The mean of four thousand look-ups in a few rows, whose gradients the backward adds up one by one."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, min(size, 8))

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.arange(4_000).remainder(3)
        y: Tensor = (
            self.embedding(seen).mean(0) + self.embedding.weight[seen].mean(0) * x[:, : self.embedding.embedding_dim]
        )
        return y


def _hooked(size: int) -> nn.Module:
    """A hook of the first layer that takes it for granted that the input needs a gradient."""
    module = nn.Sequential(nn.Linear(size, 80), nn.Tanh(), nn.Linear(80, 3))
    module[0].register_full_backward_hook(lambda module, inner, outer: (inner[0] * 1.0,))
    return module


RIGHT: list[tuple[Callable[[int], nn.Module], tuple[int, ...]]] = [
    (Causal, (2, 5)),
    (Padded, (2, 5)),
    (Listed, (3,)),
    (Counting, (3,)),
    (Freed, (3,)),
    (Averaging, (3,)),
    (Chosen, (3,)),
    (Summing, (3,)),
    (_hooked, (3,)),
]


@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize(("make", "shape"), RIGHT, ids=lambda given: getattr(given, "__name__", ""))
def test_a_right_module_with_unusual_state_or_masks_passes(
    make: Callable[[int], nn.Module], shape: tuple[int, ...], size: str
) -> None:
    for seed in range(3):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module, x = make(SIZES[size]), torch.randn(*shape, SIZES[size])
        assert nets.verify(module, x, seed=seed).passed


def test_a_large_point_of_tiny_numbers_is_probed_in_its_own_unit() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = 1e7 * torch.randn(60, 100, generator=generator).double()
    x = 1e-8 * torch.randn(3, 100, generator=generator).double()
    assert nets.verify(Written(lambda m, x: torch.sin(x @ m.weight.mT), weight=weight), x).passed


def test_a_parameter_that_gets_other_memory_is_an_input_error() -> None:
    class Renormed(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            self.weight.data = torch.renorm(self.weight.data, 2, 0, 50.0)
            return super().forward(x)

    with pytest.raises(nets.InputError, match=r"weight .*parameter\.data\.copy_"):
        nets.verify(Renormed(4, 60), torch.randn(3, 4))


def test_a_norm_of_order_infinity_has_a_second_order() -> None:
    """Its zeros without memory are not to be written to."""
    assert nets.verify(Written(lambda m, x: x.norm(torch.inf, -1)), torch.randn(3, 6), order=2).verdict != "fail"


def test_a_module_that_is_not_defined_on_all_sides_is_inconclusive() -> None:
    """Probabilities at the edge of the domain of a binary cross entropy."""
    edge = torch.ones(3, 4).double().requires_grad_()
    certificate = nets.verify(nn.BCELoss(), edge, torch.ones(3, 4).double())
    assert certificate.verdict == "inconclusive" and certificate.decisive.reason is Reason.EDGE_OF_THE_DOMAIN
    assert "input[0][0, 0] is 1.0000000" in certificate.sentence()


def test_order_two_takes_a_module_that_keeps_its_last_output() -> None:
    class Keeping(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            self.last = torch.tanh(super().forward(x))
            return self.last

    assert nets.verify(Keeping(3, 2), torch.randn(2, 3), order=2).passed
