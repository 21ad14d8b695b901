"""Attention and its composites: self-attention with projections, and the block of a transformer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nets
from nets.calculus.architectures.transformer import PostNormBlock, PreNormBlock, SelfAttention
from nets.calculus.layers import LayerNorm, Linear, Tanh
from nets.calculus.layers.attention import Attention, AttentionWeights, BlockedAttention
from tests.layer_case import BEFORE, LayerCase, positions


class Torch(nn.Module):
    """The same by PyTorch: complex numbers turn the pairs, and each head gets a copy of its group's keys and values."""

    def __init__(self, layer: Attention) -> None:
        super().__init__()
        self.layer = (layer,)  # no child: it has no parameters, and no name in the state

    def forward(self, x: Tensor) -> Tensor:
        (layer,) = self.layer
        width = x.shape[-1] // (layer.heads + 2 * layer.groups)
        parts = x.unflatten(-1, (-1, width)).transpose(-3, -2).split([layer.heads, layer.groups, layer.groups], -3)
        queries, keys, values = parts
        if layer.rotary is not None:
            queries, keys = turned(queries, layer.rotary), turned(keys, layer.rotary)
        each = layer.heads // layer.groups
        keys, values = keys.repeat_interleave(each, -3), values.repeat_interleave(each, -3)
        t = torch.arange(x.shape[-2])
        seen = t[:, None] >= t if layer.causal else torch.ones(len(t), len(t), dtype=torch.bool)
        if layer.window is not None:
            seen = seen & ((t[:, None] - t).abs() < layer.window)
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen).transpose(-3, -2).flatten(-2)


def turned(heads: Tensor, base: float) -> Tensor:
    *_, count, width = heads.shape
    angle = torch.arange(count)[:, None] * base ** (-2 * torch.arange(width // 2).double() / width)
    pairs = torch.complex(*heads.chunk(2, -1)) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([pairs.real, pairs.imag], -1)


nets.register(Torch, lambda module: module.layer[0])


class TorchWeights(Torch):
    """The weights alone: attention to values that are the rows of the unit matrix."""

    def forward(self, x: Tensor) -> Tensor:
        (layer,) = self.layer
        width = x.shape[-1] // (layer.heads + 2 * layer.groups)
        queries, keys, _ = x.split([layer.heads * width, layer.groups * width, layer.groups * width], -1)
        unit = torch.eye(x.shape[-2], dtype=x.dtype).expand(len(x), 1, -1, -1)
        queries, keys = (one.unflatten(-1, (-1, width)).transpose(-3, -2) for one in (queries, keys))
        keys = keys.repeat_interleave(layer.heads // layer.groups, -3)
        return F.scaled_dot_product_attention(queries, keys, unit.expand(-1, layer.heads, -1, -1), is_causal=True)


nets.register(TorchWeights, lambda module: module.layer[0])


class WeightsWithoutRowSums(AttentionWeights):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        one, ds = self._split(x), self._in_groups(y * v)
        dk = ds.mT @ one.queries
        return self._cotangent(ds @ self._scaled(one.keys), dk, torch.zeros_like(dk))


class WithoutRowSums(Attention):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        one, v = self._split(x), self._by_head(v, self.heads // self.groups)
        p = self._weights(one)
        ds = p * (v @ one.values.mT)
        return self._cotangent(ds @ self._scaled(one.keys), ds.mT @ one.queries, p.mT @ v)


class WithoutScale(Attention):
    @staticmethod
    def _scaled(heads: Tensor) -> Tensor:
        return heads * 0.5

    def forward(self, x: Tensor) -> Tensor:
        return Attention(self.heads, self.groups)(x)


class MaskedTooLate(Attention):
    """The mask of the backward pass is applied to dP, and the later positions share in the row sums."""

    def _weights(self, one: object) -> Tensor:
        every = Attention(self.heads, self.groups, causal=False)
        return Attention._weights(every, one).tril()  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return Attention(self.heads, self.groups)(x)


class TurnedTheWrongWay(Attention):
    def _cotangent(self, dq: Tensor, dk: Tensor, dv: Tensor) -> Tensor:
        return super()._cotangent(self._turned(self._turned(dq, 1), 1), dk, dv)


class OneHeadOfTheGroup(Attention):
    def _cotangent(self, dq: Tensor, dk: Tensor, dv: Tensor) -> Tensor:
        return super()._cotangent(dq, dk[..., :1, :, :], dv[..., :1, :, :])


class WithoutOutput(BlockedAttention):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return super().pullback(v, x, torch.zeros_like(y))


def of_heads(
    layer: Callable[[], Attention], wrong: dict[str, Callable[[], Attention]], width: int, mixed: int
) -> LayerCase:
    versions = {fault: (make, BEFORE) for fault, make in wrong.items()}
    return LayerCase(layer, lambda: Torch(layer()), versions, positions(3, width, mixed), (4, 3))


def self_attention(kind: type[SelfAttention] = SelfAttention) -> SelfAttention:
    return kind(4, Attention(2, 1, rotary=10.0), generator=torch.Generator().manual_seed(3)).double()


class WithoutTheKeys(SelfAttention):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        *_, query, _, value = self.visits(v, x, y)
        return query.layer.pullback(*query[2:]) + value.layer.pullback(*value[2:])


class TorchSelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        own = self_attention()
        for name in ("query", "key", "value", "output"):
            self.add_module(name, own.parts[name])

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.query(x), self.key(x), self.value(x)], -1)
        return self.output(Torch(Attention(2, 1, rotary=10.0))(joined))


def converted(module: nn.Module) -> nets.Layer:
    return self_attention().at(dict(module.named_parameters()))


nets.register(TorchSelfAttention, converted)


def block(kind: type[PreNormBlock] | type[PostNormBlock]) -> nets.Layer:
    generator = torch.Generator().manual_seed(4)
    attention = SelfAttention(4, Attention(2), generator=generator)
    mlp = nets.Network([Linear(4, 3, generator=generator), Tanh(), Linear(3, 4, generator=generator)])
    return kind(attention, mlp, LayerNorm(4, eps=0.1), LayerNorm(4, eps=0.1)).double()


class WithoutTheShortcut(PreNormBlock):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return super().pullback(v, x, y) - v


class TorchBlock(nn.Module):
    def __init__(self, kind: type[PreNormBlock] | type[PostNormBlock]) -> None:
        super().__init__()
        self.kind = kind
        for name, part in block(kind).named_children():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind is PreNormBlock:
            x = x + self.attention(self.norm_1(x))
            return x + self.mlp(self.norm_2(x))
        x = self.norm_1(x + self.attention(x))
        return self.norm_2(x + self.mlp(x))


nets.register(TorchBlock, lambda module: block(module.kind).at(dict(module.named_parameters())))


CASES = {
    "attention": of_heads(
        lambda: Attention(2),
        {
            "without the row sums": lambda: WithoutRowSums(2),
            "without the scale": lambda: WithoutScale(2),
            "masked after the softmax": lambda: MaskedTooLate(2),
        },
        12,
        4,
    ),
    "attention in groups, rotary": of_heads(
        lambda: Attention(4, 2, rotary=10.0),
        {
            "turned the wrong way": lambda: TurnedTheWrongWay(4, 2, rotary=10.0),
            "one head of each group": lambda: OneHeadOfTheGroup(4, 2, rotary=10.0),
        },
        16,
        8,
    ),
    "attention in blocks": of_heads(
        lambda: BlockedAttention(2, block=3), {"without the output": lambda: WithoutOutput(2, block=3)}, 12, 4
    ),
    "weights of attention": LayerCase(
        lambda: AttentionWeights(4, 2),
        lambda: TorchWeights(AttentionWeights(4, 2)),
        {"without the row sums": (lambda: WeightsWithoutRowSums(4, 2), BEFORE)},
        positions(3, 16, 4),
        (4, 3),
    ),
    "self-attention": LayerCase(
        self_attention,
        TorchSelfAttention,
        {"without the keys": (lambda: self_attention(WithoutTheKeys), BEFORE)},
        positions(3, 4, 4),
        (3, 3),
    ),
    "block, norm first": LayerCase(
        lambda: block(PreNormBlock),
        lambda: TorchBlock(PreNormBlock),
        {"without the shortcut": (lambda: block(WithoutTheShortcut), BEFORE)},
        positions(3, 4, 4),
        (3, 3),
    ),
    "block, norm last": LayerCase(
        lambda: block(PostNormBlock), lambda: TorchBlock(PostNormBlock), {}, positions(3, 4, 4), (3, 3)
    ),
}

SETTINGS = {
    f"attention, {name}": (lambda make=make: Torch(make()), shape)
    for name, make, shape in (
        ("both directions", lambda: Attention(2, causal=False), (2, 5, 12)),
        ("a window", lambda: Attention(2, window=2), (2, 5, 12)),
        ("a window of both directions", lambda: Attention(2, causal=False, window=2), (2, 5, 12)),
        ("one group, rotary, a window", lambda: Attention(4, 1, rotary=100.0, window=3), (2, 5, 24)),
        ("blocks of groups with a window", lambda: BlockedAttention(4, 2, block=2, window=3, rotary=10.0), (2, 5, 32)),
        ("one position", lambda: Attention(2), (2, 1, 12)),
    )
}
