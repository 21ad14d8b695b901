"""Attention that leaves out weights at random while it trains.

Index letters are those of `nets.calculus.layers.attention`, masks those of `nets.calculus.layers.dropout`. Source:
`torch.nn.MultiheadAttention`.
"""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from nets.calculus.composite import Composite, Visit
from nets.calculus.layers.attention import Attention, AttentionWeights
from nets.calculus.layers.dropout import Dropout
from nets.calculus.repetition import repeating


class DroppedAttention(Composite):
    """Y^h_nt = Σ_s D(P^h_nts) V^g_ns: the weights P of `Attention` pass through a Dropout layer D before they are used.

    In evaluation mode it is `Attention`.

    Shapes: X and Y as in `Attention`.

    Args:
        attention: gives its heads, groups and settings.
        p: the probability that a weight is left out.
        generator: of the seed of D, see `Dropout`.

    Raises:
        InputError: as in `Attention` and `Dropout`.
    """

    def __init__(self, attention: Attention, p: float = 0.1, *, generator: torch.Generator | None = None) -> None:
        weights = AttentionWeights(
            attention.heads, attention.groups, causal=attention.causal, window=attention.window, rotary=attention.rotary
        )
        super().__init__({"weights": weights, "dropout": Dropout(p, generator=generator)})
        self.heads, self.groups, self.rotary = attention.heads, attention.groups, attention.rotary

    def forward(self, x: Tensor) -> Tensor:
        """Y^h_nt = Σ_s D(P^h_nts) V^g_ns."""
        return self._weights.mixed(self.parts["dropout"](self._weights(x)), x)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v → D(P) → P → Q and K; and v → V."""
        dropout, weights = self.visits(v, x, y)
        return weights.layer.pullback(*weights[2:]) + self._weights.unmixed(v, dropout.y, x)[1]

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t → P → D(P), mixed with V; and D(P) mixed with t of V."""
        p, kept = self._values_again(x, y)
        pushed = self.parts["dropout"].pushforward(self._weights.pushforward(t, x, p), p, kept)
        return self._weights.mixed(pushed, x) + self._weights.mixed(kept, t)

    def visits(self, v: Tensor, x: Tensor, y: Tensor) -> Iterator[Visit]:
        """D, then the weights."""
        p, kept = self._values_again(x, y)
        v = self._weights.unmixed(v, kept, x)[0]
        yield Visit("dropout", self.parts["dropout"], v, p, kept)
        yield Visit("weights", self._weights, self.parts["dropout"].pullback(v, p, kept), x, p)

    @property
    def _weights(self) -> AttentionWeights:
        return cast("AttentionWeights", self.parts["weights"])

    def _values_again(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """P and D(P) of the forward pass that made Y."""
        with repeating(self, y):
            p = self._weights(x)
            return p, self.parts["dropout"](p)
