"""Right modules in half precision, and what makes their gradients wrong there and nowhere else."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""The precisions; 'autocast' is a module in float32 that computes in bfloat16."""

PRECISIONS = (*HALF, "autocast")


class Attention(nn.Module):
    """Softmax attention over tokens, with a causal mask or without, by hand or by PyTorch's own kernel."""

    def __init__(self, features: int = 16, heads: int = 2, causal: bool = False, fused: bool = False) -> None:
        super().__init__()
        self.heads, self.causal, self.fused = heads, causal, fused
        self.qkv, self.out = nn.Linear(features, 3 * features), nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            scores = q @ k.mT / q.shape[-1] ** 0.5
            if self.causal:
                later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
                scores = scores.masked_fill(later, -torch.inf)
            mixed = scores.softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


class SelfAttention(nn.Module):
    """PyTorch's own attention of tokens to themselves."""

    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.inner, self.masked = nn.MultiheadAttention(16, 2, batch_first=True), masked

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if self.masked else None
        mixed: Tensor = self.inner(x, x, x, attn_mask=mask, need_weights=False)[0]
        return mixed


class Block(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.first, self.attention = nn.LayerNorm(features), Attention(features, causal=True)
        self.second = nn.LayerNorm(features)
        self.mlp = nn.Sequential(nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first(x))
        return x + self.mlp(self.second(x))


class Gpt(nn.Module):
    """Two blocks over six tokens of eleven kinds."""

    def __init__(self, features: int = 16) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(11, features), nn.Parameter(torch.randn(6, features) / 10)
        self.blocks = nn.Sequential(Block(features), Block(features))
        self.norm, self.head = nn.LayerNorm(features), nn.Linear(features, 11, bias=False)

    def forward(self, indices: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.blocks(self.token(indices) + self.place)))
        return logits


class Recurrent(nn.Module):
    """The outputs of a recurrent layer."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.inner = kind(6, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.inner(x)[0]
        return outputs


class Autocast(nn.Module):
    """In bfloat16 where it is in float32."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self.inner(x)
        return y if y.dtype is torch.float64 else y.float()


def _encoder(norm_first: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True, norm_first=norm_first)


def _convolutions(norm: nn.Module, activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), norm, activation, nn.Conv2d(4, 3, 3))


RIGHT: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "attention": (Attention, (2, 6, 16)),
    "causal attention": (lambda: Attention(causal=True), (2, 6, 16)),
    "fused attention": (lambda: Attention(fused=True), (2, 6, 16)),
    "fused causal attention": (lambda: Attention(causal=True, fused=True), (2, 6, 16)),
    "MultiheadAttention": (lambda: SelfAttention(False), (2, 6, 16)),
    "masked MultiheadAttention": (lambda: SelfAttention(True), (2, 6, 16)),
    "LayerNorm": (lambda: nn.LayerNorm(8), (4, 8)),
    "RMSNorm": (lambda: nn.RMSNorm(8), (4, 8)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 8), (2, 8, 3)),
    "BatchNorm": (lambda: nn.BatchNorm1d(8), (6, 8)),
    "softmax": (lambda: nn.Softmax(-1), (4, 8)),
    "GELU": (lambda: nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)), (4, 8)),
    "encoder, norm last": (lambda: _encoder(False), (2, 6, 16)),
    "encoder, norm first": (lambda: _encoder(True), (2, 6, 16)),
    "GPT": (Gpt, ()),
    "LSTM": (lambda: Recurrent(nn.LSTM), (2, 5, 6)),
    "GRU": (lambda: Recurrent(nn.GRU), (2, 5, 6)),
    "convolution and BatchNorm": (lambda: _convolutions(nn.BatchNorm2d(4), nn.ReLU()), (2, 2, 6, 6)),
    "convolution and GroupNorm": (lambda: _convolutions(nn.GroupNorm(2, 4), nn.GELU()), (2, 2, 6, 6)),
}
"""Name → module and the shape of its input; () for the tokens of the GPT."""


def made(name: str, precision: str, seed: int) -> tuple[nn.Module, Tensor]:
    """A right module and its input, in that precision."""
    make, shape = RIGHT[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make()
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.ndim == 1:
                    # No gain of exactly one and no bias of zero.
                    parameter.add_(torch.randn_like(parameter) / 5)
        x = torch.randn(shape) if shape else torch.randint(0, 11, (2, 6))
    if precision == "autocast":
        return Autocast(module), x
    return module.to(HALF[precision]), x.to(HALF[precision]) if x.is_floating_point() else x


Spoil = Callable[[Tensor], Tensor]
"""A gradient → what is handed on in its place."""


def _zeroed(gradient: Tensor) -> Tensor:
    gradient = gradient.clone()
    gradient[0] = 0
    return gradient


FAULTS: dict[str, Spoil] = {
    "a tenth too large": lambda gradient: 1.1 * gradient,
    "a tenth too small": lambda gradient: 0.9 * gradient,
    "the wrong sign": lambda gradient: -gradient,
    "the first row zero": _zeroed,
}


class _Spoiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor, spoil: Spoil) -> Tensor:
        ctx.spoil = spoil  # type: ignore[attr-defined]
        return x.clone()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.spoil(gradients[0]), None  # type: ignore[attr-defined]


class Spoiled(nn.Module):
    """A module whose gradient by its input is spoiled."""

    def __init__(self, inner: nn.Module, spoil: Spoil) -> None:
        super().__init__()
        self.inner, self.spoil = inner, spoil

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(_Spoiled.apply(x, self.spoil))
        return y


def spoiled(module: nn.Module, point: str, fault: str) -> nn.Module:
    """The module with that fault in the gradient by a point, in every precision but float64."""

    def below(gradient: Tensor) -> Tensor:
        return gradient if gradient.dtype is torch.float64 else FAULTS[fault](gradient)

    if point == "input":
        return Spoiled(module, below)
    module.get_parameter(point).register_hook(below)
    return module
