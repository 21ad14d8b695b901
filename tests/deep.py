"""A small GPT and a small encoder, in which one thing can be spoiled: its value stays right and its gradient does
not."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Spoil = Callable[[Tensor], Tensor]

WIDTH, HEADS, TOKENS, LENGTH = 8, 2, 7, 5


class _Spoiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, wrong: Spoil) -> Tensor:
        ctx.wrong = wrong
        return x.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return ctx.wrong(upstream), None


def spoiled(x: Tensor, wrong: Spoil = lambda g: 1.1 * g) -> Tensor:
    """x, with a gradient that goes through `wrong`."""
    return _Spoiled.apply(x, wrong)


class Part(nn.Module):
    """A module with a fault, or with none.

    Attributes:
        fault: what is wrong in the code of this module, '' where nothing is.
    """

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault

    def if_it_is(self, fault: str, x: Tensor, wrong: Spoil = lambda g: 1.1 * g) -> Tensor:
        return spoiled(x, wrong) if self.fault == fault else x


class Rope(Part):
    def forward(self, x: Tensor) -> Tensor:
        angle = torch.arange(x.shape[-2], dtype=x.dtype)[:, None] * 0.3 ** torch.arange(x.shape[-1] // 2, dtype=x.dtype)
        a, b = x.chunk(2, -1)
        turned = torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)
        return self.if_it_is("rope", turned, lambda g: g.flip(-1))


class Softmax(Part):
    def forward(self, scores: Tensor) -> Tensor:
        # Without the sum over the row that a softmax takes away.
        return spoiled(scores, lambda g: g + 0.1).softmax(-1) if self.fault == "softmax" else scores.softmax(-1)


class Norm(Part):
    def __init__(self, fault: str = "") -> None:
        super().__init__(fault)
        self.weight, self.bias = nn.Parameter(torch.ones(WIDTH)), nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        centred = x - (mean.detach() if self.fault == "layer norm" else mean)
        return centred / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt() * self.weight + self.bias


class Gelu(Part):
    def forward(self, x: Tensor) -> Tensor:
        return self.if_it_is("gelu", F.gelu(x), lambda g: 0.9 * g)


class Qkv(Part):
    def __init__(self, fault: str = "") -> None:
        super().__init__(fault)
        self.linear = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(-3, -2) for part in self.linear(x).chunk(3, -1))
        return q, self.if_it_is("qkv split", k, lambda g: g.roll(1, -3)), v


class Attention(Part):
    def __init__(self, fault: str = "") -> None:
        super().__init__(fault)
        self.qkv, self.rope, self.softmax, self.out = Qkv(fault), Rope(fault), Softmax(fault), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, *, mask: Tensor) -> Tensor:
        q, k, v = self.qkv(x)
        scores = self.rope(q) @ self.rope(k).mT
        scores = self.if_it_is("scale", scores / (WIDTH // HEADS) ** 0.5, lambda g: 2 * g)
        scores = self.if_it_is("mask", scores, lambda g: g.tril(-1)).masked_fill(~mask, -torch.inf)
        return self.out((self.softmax(scores) @ v).transpose(-3, -2).flatten(-2))


class Mlp(Part):
    def __init__(self, fault: str = "") -> None:
        super().__init__(fault)
        self.up, self.gelu, self.down = nn.Linear(WIDTH, 2 * WIDTH), Gelu(fault), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(
            self.if_it_is("mlp", self.gelu(self.up(x)), lambda g: g * g.new_tensor([1.0, 1.2]).repeat(WIDTH))
        )


class Block(Part):
    def __init__(self, fault: str = "") -> None:
        super().__init__(fault)
        self.ln1, self.attention, self.ln2, self.mlp = Norm(fault), Attention(fault), Norm(), Mlp(fault)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(self.ln1(x), mask=mask)
        return (x.detach() if self.fault == "residual" else x) + self.mlp(self.ln2(x))


class Head(Part):
    def __init__(self, fault: str = "") -> None:
        super().__init__(fault)
        self.norm = Norm()

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.if_it_is("head", self.norm(x), lambda g: 0.5 * g) @ weight.mT


class Positions(Part):
    def __init__(self, fault: str = "") -> None:
        super().__init__(fault)
        self.weight = nn.Parameter(0.1 * torch.randn(LENGTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.if_it_is("positions", self.weight, lambda g: g.roll(1, 0))


class Gpt(Part):
    """Three blocks; the second has the fault. The head shares the weight of the embedding."""

    def __init__(self, fault: str = "") -> None:
        super().__init__(fault)
        self.tokens, self.positions = nn.Embedding(TOKENS, WIDTH), Positions(fault)
        self.blocks = nn.ModuleList([Block(), Block(fault), Block()])
        self.head = Head(fault)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.positions(self.tokens(tokens))
        mask = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
        for block in self.blocks:
            x = block(x, mask)
        weight = self.tokens.weight
        return self.head(x, weight.detach() if self.fault == "tied embedding" else weight)


WHERE = {
    "rope": "blocks.1.attention.rope",
    "softmax": "blocks.1.attention.softmax",
    "layer norm": "blocks.1.ln1",
    "gelu": "blocks.1.mlp.gelu",
    "qkv split": "blocks.1.attention.qkv",
    "scale": "blocks.1.attention",
    "mask": "blocks.1.attention",
    "mlp": "blocks.1.mlp",
    "residual": "blocks.1",
    "head": "head",
    "positions": "positions",
    "tied embedding": "",
}
"""Fault → the module in whose code it is."""


def gpt(fault: str = "", seed: int = 0) -> tuple[Gpt, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Gpt(fault).double(), torch.randint(TOKENS, (1, LENGTH))
