"""Softmax and its logarithm.

Index letters: n sample, i and j position along the axis that is normalized.
"""

from typing import Any

import torch
from torch import Tensor, nn

from nets import validation
from nets.calculus.layer import Layer
from nets.calculus.layers.conversion import register
from nets.calculus.mathematics import Mathematics
from nets.calculus.notation.factors import DELTA, Factor, Place, subscript
from nets.errors import InputError

SATURATED_PROBABILITY = 0.99
"""A probability above it leaves less than a hundredth for all others: p (1 − p), the slope of its own score, is below
0.01."""


def distribution_statistics(p: Tensor) -> dict[str, float]:
    """Of distributions P_i along the last axis: `entropy`, the mean of −Σ_i P_i log P_i in nats, and `saturated`, the
    share of those with max_i P_i > SATURATED_PROBABILITY."""
    entropy = torch.special.entr(p).sum(-1)
    return {
        "entropy": float(entropy.double().mean()),
        "saturated": float((p.amax(-1) > SATURATED_PROBABILITY).double().mean()),
    }


def along_softmax(t: Tensor, p: Tensor, axis: int = -1) -> Tensor:
    """t_i → P_j (t_j − Σ_i t_i P_i) along an axis, with P = softmax of the scores: both the pullback and the
    pushforward, since the Jacobian diag(P) − P Pᵀ is symmetric."""
    return p * (t - (t * p).sum(axis, keepdim=True))


class Softmax(Layer):
    """Y_ni = exp X_ni / Σ_j exp X_nj, so ∂Y_ni/∂X_nj = Y_ni (δ_ij − Y_nj), the matrix diag(Y_n) − Y_n Y_nᵀ.

    Shapes: X (N, *S), Y the same.

    Args:
        dim: the axis of i, counted from the last one (−1) or from that of the samples (0).

    Raises:
        InputError: for an axis that X does not have, or that of the samples.

    Source: Bridle, "Probabilistic interpretation of feedforward classification network outputs", Neurocomputing (1990).
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = validation.whole("dim", dim, -validation.LARGEST_WHOLE)

    def forward(self, x: Tensor) -> Tensor:
        """Y_ni = exp X_ni / Σ_j exp X_nj, from which the largest X_nj is subtracted first."""
        return torch.softmax(x, self.axis(x))

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y_ni = exp X_ni / Σ_j exp X_nj."""
        e = m.exp(x)
        return e / m.sum(e, axis=self.axis(x), keepdims=True)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_ni → Y_nj (v_nj − Σ_i v_ni Y_ni)."""
        return along_softmax(v, y, self.axis(x))

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_nj → Y_ni (t_ni − Σ_j Y_nj t_nj): the Jacobian is symmetric."""
        return self.pullback(t, x, y)

    def local_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """diag(Y_n) − Y_n Y_nᵀ, where a sample is a vector."""
        if x.ndim > 2:
            return super().local_jacobian(x, y)
        return torch.diag_embed(y) - y[:, :, None] * y[:, None, :]

    def factors(self, place: Place, i: str, j: str) -> list[Factor]:
        """∂Y_i/∂X_j = Y_i (δ_ij − Y_j)."""
        if not place.of_vectors:
            return super().factors(place, i, j)
        y_i, y_j = (f"{place.y_name}_{subscript(unit)}" for unit in (i, j))
        written = f"{y_i} (δ_{subscript(i, j)} − {y_j})"
        return [Factor(written, (i, j), lambda n: self._at_sample(place, n), (DELTA,))]

    def statistics(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """Entropy and saturation, see `distribution_statistics`."""
        return distribution_statistics(y.movedim(self.axis(y), -1))

    def axis(self, x: Any) -> int:
        """The axis of i, counted from the last: a cotangent may have further axes in front."""
        axes = len(x.shape)
        axis = self.dim if self.dim < 0 else self.dim - axes
        if not -axes < axis < 0:
            raise InputError(
                f"a {type(self).__name__} over the axis {self.dim} was given X of shape {tuple(x.shape)}; expected an "
                "axis of X after the first, which is that of the samples."
            )
        return axis

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """Y_ni = X_ni − log Σ_j exp X_nj, so ∂Y_ni/∂X_nj = δ_ij − exp Y_nj.

    Shapes: X (N, *S), Y the same.

    Args:
        dim: the axis of i, counted from the last one (−1) or from that of the samples (0).

    Raises:
        InputError: for an axis that X does not have, or that of the samples.

    Source: as for Softmax.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Y_ni = X_ni − log Σ_j exp X_nj, from which the largest X_nj is subtracted first."""
        return torch.log_softmax(x, self.axis(x))

    def function(self, m: Mathematics, x: Any) -> Any:
        """Y_ni = X_ni − log Σ_j exp X_nj."""
        return x - m.log(m.sum(m.exp(x), axis=self.axis(x), keepdims=True))

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_ni → v_nj − exp(Y_nj) Σ_i v_ni."""
        return v - y.exp() * v.sum(self.axis(x), keepdim=True)

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_nj → t_ni − Σ_j exp(Y_nj) t_nj."""
        return t - (y.exp() * t).sum(self.axis(x), keepdim=True)

    def statistics(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """Those of the probabilities, exp Y."""
        return super().statistics(x, y.exp())

    def local_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """δ_ij − exp Y_nj, where a sample is a vector."""
        if x.ndim > 2:
            return Layer.local_jacobian(self, x, y)
        return torch.eye(y.shape[1], dtype=y.dtype, device=y.device) - y.exp()[:, None, :]

    def factors(self, place: Place, i: str, j: str) -> list[Factor]:
        """∂Y_i/∂X_j = δ_ij − exp Y_j."""
        if not place.of_vectors:
            return Layer.factors(self, place, i, j)
        written = f"(δ_{subscript(i, j)} − exp {place.y_name}_{subscript(j)})"
        return [Factor(written, (i, j), lambda n: self._at_sample(place, n), (DELTA,))]


register(nn.Softmax, lambda module: None if module.dim is None else Softmax(module.dim))
register(nn.LogSoftmax, lambda module: None if module.dim is None else LogSoftmax(module.dim))
