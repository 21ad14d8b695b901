"""Attention: each position of a sequence takes a weighted mean of the values at other positions.

Index letters: n sample, t position of the query, s position of the key, h head, g group of heads that share keys and
values, d entry of a head. v is the cotangent of the output.
Sources: Vaswani et al., arXiv:1706.03762, section 3.2; grouped queries: Ainslie et al., arXiv:2305.13245; rotary
embedding: Su et al., arXiv:2104.09864; the backward pass from the row sums: Dao et al., arXiv:2205.14135, appendix B.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nets.calculus.layer import Layer
from nets.calculus.layers.softmax import along_softmax, distribution_statistics
from nets.errors import InputError
from nets.validation import number, whole, yes_or_no


class Heads(NamedTuple):
    """Queries Q / √D of shape (…, N, G, R, T, D), with R heads to each of G groups; keys and values of (…, N, G, 1, T,
    D)."""

    queries: Tensor
    keys: Tensor
    values: Tensor


class Attention(Layer):
    """Y^h_nt = Σ_s P^h_nts V^g_ns with P^h_nts = exp S^h_nts / Σ_r exp S^h_ntr and S^h_nts = Q^h_nt · K^g_ns / √D.

    Where the layer is causal, S_nts is −∞ for s > t: a position attends to itself and to those before it. With `window`
    it is −∞ for s ≤ t − window as well.

    Shapes: X (N, T, (H + 2 G) D) holds Q, K and V one after the other; Y (N, T, H D). A Linear layer before it makes
    the three from one input, and one after it mixes the heads.

    Args:
        heads: H.
        groups: G, a divisor of H: each H / G consecutive heads share their keys and values. H if not given.
        causal: whether later positions are hidden.
        window: how many positions are seen, the present one among them; all if not given.
        rotary: the base b of a rotary embedding of queries and keys, such as 10,000: entries d and d + D/2 are turned
            as a pair by the angle t b^(−2d/D). None for no embedding.

    Raises:
        InputError: for an argument out of range; in the forward pass for an input that is no such sequence.
    """

    def __init__(
        self,
        heads: int,
        groups: int | None = None,
        *,
        causal: bool = True,
        window: int | None = None,
        rotary: float | None = None,
    ) -> None:
        super().__init__()
        self.heads = whole("heads", heads, 1, remedy="give the number of heads")
        self.groups = self.heads if groups is None else whole("groups", groups, 1, remedy="leave it out for one a head")
        if self.heads % self.groups:
            raise InputError(
                f"groups is {groups} and heads {heads}; expected a divisor of the number of heads: each group has as "
                "many heads as the others."
            )
        self.causal = yes_or_no("causal", causal)
        self.window = None if window is None else whole("window", window, 1, remedy="leave it out to see all positions")
        self.rotary = None if rotary is None else number("rotary", rotary, above=0)

    def forward(self, x: Tensor) -> Tensor:
        """Y_nt = Σ_s P_nts V_ns, head by head."""
        self._check(x)
        one = self._split(x)
        return self._joined(self._weights(one) @ one.values)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """∂P_ts/∂S_tr = P_ts (δ_sr − P_tr), so with dP_ts = v_t · V_s

        S: dS_ts = P_ts (dP_ts − Σ_r P_tr dP_tr); Q: Σ_s dS_ts K_s / √D; K: Σ_t dS_ts Q_t / √D; V: Σ_t P_ts v_t;
        the last two summed over the heads of a group.
        """
        one, v = self._split(x), self._by_head(v, self.heads // self.groups)
        p = self._weights(one)
        dp = v @ one.values.mT
        ds = along_softmax(dp, p)
        return self._cotangent(ds @ self._scaled(one.keys), ds.mT @ one.queries, p.mT @ v)

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """tS_ts = (tQ_t · K_s + Q_t · tK_s) / √D, tP_ts = P_ts (tS_ts − Σ_r P_tr tS_tr), Σ_s tP_ts V_s + P_ts tV_s."""
        one, along = self._split(x), self._split(t)
        p = self._weights(one)
        return self._joined(self._pushed_weights(p, one, along) @ one.values + p @ along.values)

    def weights(self, x: Tensor) -> Tensor:
        """P^h_nts, of shape (N, H, T, T)."""
        self._check(x)
        return self._weights(self._split(x)).flatten(1, 2)

    def mixed(self, p: Tensor, x: Tensor) -> Tensor:
        """Σ_s P^h_nts V^g_ns, with any P of shape (…, N, H, T, T) and V of X."""
        return self._joined(self._in_groups(p) @ self._split(x).values)

    def unmixed(self, v: Tensor, p: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The cotangents of P, v_nt · V_ns, and of X: of V alone, Σ_t P_nts v_nt, summed over the heads of a group."""
        v = self._by_head(v, self.heads // self.groups)
        dv = self._in_groups(p).mT @ v
        none = torch.zeros_like(dv)
        return (v @ self._split(x).values.mT).flatten(-4, -3), self._cotangent(none, none, dv)

    def statistics(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """Entropy and saturation of P_nt, see `distribution_statistics`, at the positions that see more than one."""
        hidden = self._hidden(x)
        p = self.weights(x)
        if hidden is not None:
            p = p[..., (~hidden).sum(-1) > 1, :]
        return distribution_statistics(p) if p.numel() else {}

    def _cotangent(self, dq: Tensor, dk: Tensor, dv: Tensor) -> Tensor:
        """The cotangent of X from those of Q, K and V, the last two summed over the heads of a group."""
        if self.groups < self.heads:
            dk, dv = dk.sum(-3, keepdim=True), dv.sum(-3, keepdim=True)
        return torch.cat([self._joined(part) for part in (self._turned(dq, -1), self._turned(dk, -1), dv)], -1)

    def _weights(self, one: Heads) -> Tensor:
        return torch.softmax(self._scores(one), -1)

    @staticmethod
    def _pushed_weights(p: Tensor, one: Heads, along: Heads) -> Tensor:
        """tP of the tangents of Q and K."""
        return along_softmax(along.queries @ one.keys.mT + one.queries @ along.keys.mT, p)

    def _scores(self, one: Heads, first: int = 0) -> Tensor:
        """S_ts, of the queries from position `first` on."""
        scores = one.queries @ one.keys.mT
        hidden = self._hidden(one.keys)
        if hidden is None:
            return scores
        # −∞ is added, since a sum takes less time than a choice.
        mask = scores.new_zeros(hidden.shape).masked_fill(hidden, -math.inf)
        return scores + mask[first : first + scores.shape[-2]]

    def _hidden(self, keys: Tensor) -> Tensor | None:
        """Which s the position t does not see, of shape (T, T)."""
        every = torch.ones(keys.shape[-2], keys.shape[-2], dtype=torch.bool, device=keys.device)
        hidden = every.triu(1) if self.causal else None
        if self.window is None:
            return hidden
        before = every.tril(-self.window)
        beyond = before if self.causal else before | every.triu(self.window)
        return beyond if hidden is None else hidden | beyond

    def _split(self, x: Tensor) -> Heads:
        """Q / √D, K and V by heads, Q and K turned by the rotary embedding. X may have axes in front."""
        width = x.shape[-1] // (self.heads + 2 * self.groups)
        sizes = [self.heads * width, self.groups * width, self.groups * width]
        queries, keys, values = x.split(sizes, -1)
        queries, keys = self._by_head(queries, self.heads // self.groups), self._by_head(keys, 1)
        return Heads(self._turned(self._scaled(queries), 1), self._turned(keys, 1), self._by_head(values, 1))

    @staticmethod
    def _scaled(heads: Tensor) -> Tensor:
        """Q / √D, or K / √D."""
        return heads * heads.shape[-1] ** -0.5

    def _in_groups(self, p: Tensor) -> Tensor:
        """(…, H, T, T) → (…, G, R, T, T)."""
        return p.unflatten(-3, (self.groups, -1))

    def _by_head(self, x: Tensor, each: int) -> Tensor:
        """(…, N, T, G R D) → (…, N, G, R, T, D), with R = each; keys and values have R = 1."""
        return x.unflatten(-1, (self.groups, each, -1)).movedim(-4, -2)

    @staticmethod
    def _joined(heads: Tensor) -> Tensor:
        """(…, N, G, R, T, D) → (…, N, T, G R D)."""
        return heads.movedim(-2, -4).flatten(-3)

    def _turned(self, heads: Tensor, direction: int) -> Tensor:
        """(x_d, x_e) → (x_d cos α − x_e sin α, x_e cos α + x_d sin α) with e = d + D/2 and α = t b^(−2d/D). The
        transpose turns the other way, direction −1."""
        if self.rotary is None:
            return heads
        *_, positions, width = heads.shape
        steps = torch.arange(positions, dtype=torch.float64, device=heads.device)
        rates = self.rotary ** (torch.arange(0, width, 2, dtype=torch.float64, device=heads.device) / -width)
        angle = steps[:, None] * rates
        cos, sin = angle.cos().to(heads.dtype), (direction * angle.sin()).to(heads.dtype)
        first, second = heads.chunk(2, -1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)

    def _check(self, x: Tensor) -> None:
        parts = self.heads + 2 * self.groups
        if x.ndim != 3 or x.shape[-1] % parts:
            raise InputError(
                f"Attention with {self.heads} heads was given X of shape {tuple(x.shape)}; expected (samples, "
                f"positions, features) with a multiple of {parts} features, the heads of the queries, keys and values: "
                "have a Linear layer before it make them."
            )
        if self.rotary is not None and x.shape[-1] // parts % 2:
            raise InputError(
                f"Attention with a rotary embedding was given heads of width {x.shape[-1] // parts}; expected an even "
                "width: the embedding turns pairs of entries."
            )


class AttentionWeights(Attention):
    """Y^h_nts = P^h_nts, the weights of `Attention`; V has no part in them.

    Shapes: X (N, T, (H + 2 G) D) as in `Attention`; Y (N, H, T, T). Arguments and errors are those of `Attention`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """P^h_nts = exp S^h_nts / Σ_r exp S^h_ntr."""
        return self.weights(x)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """dS_ts = P_ts (v_ts − Σ_r P_tr v_tr), and from there to Q and K as in `Attention`."""
        one, v, p = self._split(x), self._in_groups(v), self._in_groups(y)
        ds = along_softmax(v, p)
        dk = ds.mT @ one.queries
        return self._cotangent(ds @ self._scaled(one.keys), dk, torch.zeros_like(dk))

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """tS_ts = (tQ_t · K_s + Q_t · tK_s) / √D, tP_ts = P_ts (tS_ts − Σ_r P_tr tS_tr)."""
        return self._pushed_weights(self._in_groups(y), self._split(x), self._split(t)).flatten(-4, -3)


class BlockedAttention(Attention):
    """The same function as `Attention`, computed for B query positions at a time: no T × T matrix is formed.

    The backward pass computes P anew from S and its row sums L_t = log Σ_s exp S_ts, and takes Σ_r P_tr dP_tr from the
    output: it equals v_t · Y_t.

    Args:
        heads, groups: see `Attention`.
        block: B.
        settings: causal, window and rotary, see `Attention`.

    Raises:
        InputError: as in `Attention`.
    """

    def __init__(self, heads: int, groups: int | None = None, *, block: int, **settings: Any) -> None:
        super().__init__(heads, groups, **settings)
        self.block = whole("block", block, 1, remedy="give the number of query positions in a block")

    def forward(self, x: Tensor) -> Tensor:
        """Y_t = Σ_s exp(S_ts − L_t) V_s."""
        self._check(x)
        one = self._split(x)
        parts = []
        for first, queries in self._blocks(one.queries):
            scores = self._scores(one._replace(queries=queries), first)
            parts.append((scores - torch.logsumexp(scores, -1, keepdim=True)).exp() @ one.values)
        return self._joined(torch.cat(parts, -2))

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """dS_ts = P_ts (v_t · V_s − v_t · Y_t) with P_ts = exp(S_ts − L_t); the rest as in `Attention`."""
        each = self.heads // self.groups
        one, v, y = self._split(x), self._by_head(v, each), self._by_head(y, each)
        d = (v * y).sum(-1, keepdim=True)
        dq, dk, dv = [], torch.zeros_like(one.keys), torch.zeros_like(one.values)
        for (first, queries), (_, vs), (_, ds) in zip(
            self._blocks(one.queries), self._blocks(v), self._blocks(d), strict=True
        ):
            scores = self._scores(one._replace(queries=queries), first)
            p = (scores - torch.logsumexp(scores, -1, keepdim=True)).exp()
            slopes = p * (vs @ one.values.mT - ds)
            dq.append(slopes @ self._scaled(one.keys))
            dk, dv = dk + slopes.mT @ queries, dv + p.mT @ vs
        return self._cotangent(torch.cat(dq, -2), dk, dv)

    def _blocks(self, rows: Tensor) -> list[tuple[int, Tensor]]:
        return [(index * self.block, part) for index, part in enumerate(rows.split(self.block, -2))]
