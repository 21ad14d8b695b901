"""Layers made of layers: shortcuts, branches, products, repeats, tied weights, and a transformer of tokens."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

import nets
from nets.calculus.architectures import Concatenate, Product, Repeat, Residual, Sum, gpt, swiglu
from nets.calculus.layers import LSTM, Conv1d, GroupNorm, LayerNorm, Linear, ReLU, Sigmoid, SiLU, Tanh
from tests.layer_case import BEFORE, LayerCase, as_class, positions


def linear(inputs: int, outputs: int, seed: int = 3) -> Linear:
    return Linear(inputs, outputs, generator=torch.Generator().manual_seed(seed))


class Torch(nn.Module):
    """A composition written by hand with the parts of the layer: autograd derives it."""

    def __init__(self, make: Callable[[], nets.Layer], written: Callable[[nets.Layer, Tensor], Tensor]) -> None:
        super().__init__()
        self.make, self.written = make, written
        for name, part in make().named_children():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.written(self, x)


nets.register(Torch, lambda module: module.make().at(dict(module.named_parameters())))


def residual(kind: type[Residual] = Residual) -> nets.Layer:
    return kind({"norm": LayerNorm(4, eps=0.1), "mix": linear(4, 4), "bend": Tanh()}).double()


class WithoutTheShortcut(Residual):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return super().pullback(v, x, y) - v


def nested() -> nets.Layer:
    inner = Residual([linear(4, 4, seed=5), Tanh()])
    return Residual([linear(4, 4), inner, Sigmoid()]).double()


class ShortcutBeforeTheLayers(Residual):
    """The cotangent of the shortcut passes through the layers once more."""

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return super().pullback(v, x, y) + nets.Network.pullback(self, v, x, y)


def branches(kind: type[Concatenate] = Concatenate) -> nets.Layer:
    return kind({"wide": nets.Network([linear(4, 3), Tanh()]), "narrow": linear(4, 1, seed=5)}).double()


class OtherHalf(Concatenate):
    """Each branch is given the entries of the other's end of the cotangent."""

    def divided(self, v: Tensor, outputs: list[Tensor]) -> Iterable[Tensor]:
        return super().divided(v.flip(-1), outputs)


def total(kind: type[Sum] = Sum) -> nets.Layer:
    return kind([nets.Network([linear(4, 4), Tanh()]), linear(4, 4, seed=5), Sigmoid()]).double()


class MeanOfTheParts(Sum):
    def divided(self, v: Tensor, outputs: list[Tensor]) -> Iterable[Tensor]:
        return [v / len(outputs)] * len(outputs)


def product(kind: type[Product] = Product) -> nets.Layer:
    return kind([nets.Network([linear(4, 4), Tanh()]), linear(4, 4, seed=5), Sigmoid()]).double()


class OwnFactor(Product):
    """∂Y/∂f_m is taken to be f_m, as it would be for a square."""

    def divided(self, v: Tensor, outputs: list[Tensor]) -> Iterable[Tensor]:
        return [v * output for output in outputs]


def gated(kind: type[Product] = Product) -> nets.Layer:
    network = swiglu(4, 3, bias=True, generator=torch.Generator().manual_seed(3)).double()
    as_class(kind, network.parts["gated"])
    return network


def repeated(kind: type[nets.Layer] = Linear) -> nets.Layer:
    return Repeat(nets.Network([as_class(kind, linear(4, 4)), Tanh()]), 3).double()


class HalfOfEachUse(Linear):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        found = super().gradients(v, x, y)
        return {**found, "weight": found["weight"] / 2}


def images() -> nets.Layer:
    generator = torch.Generator().manual_seed(3)
    first, second = (Conv1d(2, 2, 3, padding=1, generator=generator) for _ in range(2))
    return nets.Network([Residual([first, GroupNorm(2, 2, eps=0.1), SiLU(), second]), ReLU()]).double()


def recurrent() -> nets.Layer:
    return Residual([LSTM(4, 4, generator=torch.Generator().manual_seed(3))]).double()


def decoder(tied: bool, head: type[Linear] = Linear) -> nets.Layer:
    network = gpt(5, 3, 2, 1, 1, tied=tied, generator=torch.Generator().manual_seed(3)).double()
    with torch.no_grad():
        network.parts["token"].weight *= 20
        network.parts["position"].weight *= 20
    as_class(head, network.parts["head"])
    return network


class CountedOnce(Linear):
    """Its weight is that of the embedding, and the gradient of this use is left out."""

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": torch.zeros_like(self.weight)}


def written_decoder(module: nn.Module, tokens: Tensor) -> Tensor:
    x = nn.functional.embedding(tokens, module.token.weight) + module.position.weight[: tokens.shape[1]]
    for block in module.blocks:
        normal = block.norm_1(x)
        heads = (getattr(block.attention, name)(normal).unflatten(-1, (1, -1)) for name in ("query", "key", "value"))
        attended = nn.functional.scaled_dot_product_attention(*(h.transpose(1, 2) for h in heads), is_causal=True)
        x = x + block.attention.output(attended.transpose(1, 2).flatten(-2))
        into, _, out = block.mlp
        x = x + out(nn.functional.gelu(into(block.norm_2(x)), approximate="tanh"))
    return module.norm(x) @ module.head.weight.mT


def written_swiglu(module: nn.Module, x: Tensor) -> Tensor:
    gate, value = module.gated.parts["gate"][0], module.gated.parts["value"]
    return module.output(nn.functional.silu(gate(x)) * value(x))


def of_tokens(layer: nets.Layer) -> list[nets.Layer]:
    """Whole numbers → the layer → 5 → 2."""
    return [layer, Tanh(), linear(5, 2)]


BETWEEN = positions(3, 4, 4)
"""3 → 4 → the layer → 4 → 2."""


def case(
    make: Callable[..., nets.Layer],
    written: Callable[[nn.Module, Tensor], Tensor],
    wrong: dict[str, tuple[Callable[[], nets.Layer], set[str]]],
    around: Callable[[nets.Layer], list[nets.Layer]] = BETWEEN,
    shape: tuple[int, ...] = (3,),
    **more: int,
) -> LayerCase:
    return LayerCase(make, lambda: Torch(make, written), wrong, around, shape, **more)


def chained(module: nn.Module, x: Tensor) -> Tensor:
    for part in module.children():
        x = part(x)
    return x


CASES = {
    "residual of layers": case(
        residual,
        lambda m, x: x + torch.tanh(m.mix(m.norm(x))),
        {"without the shortcut": (lambda: residual(WithoutTheShortcut), BEFORE)},
    ),
    "residual in a residual": case(
        nested,
        lambda m, x: x + torch.sigmoid((z := m._modules["0"](x)) + m._modules["1"]._modules["0"](z).tanh()),
        {"shortcut through the layers": (lambda: as_class(ShortcutBeforeTheLayers, nested()), BEFORE)},
    ),
    "concatenate": case(
        branches,
        lambda m, x: torch.cat([torch.tanh(m.wide[0](x)), m.narrow(x)], -1),
        {
            "entries of the other branch": (
                lambda: branches(OtherHalf),
                BEFORE | {"1.wide.0.weight", "1.wide.0.bias", "1.narrow.weight", "1.narrow.bias"},
            )
        },
    ),
    "sum of branches": case(
        total,
        lambda m, x: torch.tanh(m._modules["0"][0](x)) + m._modules["1"](x) + torch.sigmoid(x),
        {
            "mean of the branches": (
                lambda: total(MeanOfTheParts),
                BEFORE | {"1.0.0.weight", "1.0.0.bias", "1.1.weight", "1.1.bias"},
            )
        },
    ),
    "product of branches": case(
        product,
        lambda m, x: torch.tanh(m._modules["0"][0](x)) * m._modules["1"](x) * torch.sigmoid(x),
        {
            "its own factor": (
                lambda: product(OwnFactor),
                BEFORE | {"1.0.0.weight", "1.0.0.bias", "1.1.weight", "1.1.bias"},
            )
        },
        shape=(2, 3),
    ),
    "SwiGLU": case(
        gated,
        written_swiglu,
        {
            "gate and value exchanged": (
                lambda: gated(OwnFactor),
                BEFORE | {f"1.gated.{name}.{kind}" for name in ("gate.0", "value") for kind in ("weight", "bias")},
            )
        },
        shape=(2, 3),
    ),
    "repeat": case(
        repeated,
        lambda m, x: chained(m, x),
        {"half of each use": (lambda: repeated(HalfOfEachUse), {"1.0.0.weight"})},
    ),
    "residual of convolutions": case(
        images,
        lambda m, x: torch.relu(x + chained(m._modules["0"], x)),
        {},
        positions(3, 4, 4),
        (2, 3),
    ),
    "residual of an LSTM": case(recurrent, lambda m, x: x + m._modules["0"](x), {}, shape=(3, 3)),
    "transformer of tokens": case(lambda: decoder(False), written_decoder, {}, of_tokens, (3,), number=0, tokens=5),
    "transformer with a tied head": case(
        lambda: decoder(True),
        written_decoder,
        {"tied weight counted once": (lambda: decoder(True, CountedOnce), {"0.token.weight"})},
        of_tokens,
        (3,),
        number=0,
        tokens=5,
    ),
}

SETTINGS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {}
