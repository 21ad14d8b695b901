"""w_m, the weight of each micro-batch in the loss over all of them, computed from that loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

Gradients: TypeAlias = dict[str, Tensor]
"""Parameter → gradient."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of the micro-batches.

    Attributes:
        values: w_m; None where no weights give the gradient of the whole batch, or several do.
        separable: False if the loss is known not to be a sum of one term for each micro-batch.
    """

    values: tuple[float, ...] | None
    separable: bool


def weights_from_cotangents(
    whole: list[Tensor], alone: list[Tensor], same: Callable[[Tensor, Tensor], bool]
) -> Weights:
    """w_m = ⟨u_m, v_m⟩ / ⟨v_m, v_m⟩.

    Here u_m is ∂ℓ/∂Y of the whole batch at the outputs of micro-batch m, and v_m is ∂ℓ_m/∂Y of that micro-batch alone.
    The weight is 0 where ℓ_m is 0/0 or a constant, as where all targets are masked.

    Args:
        whole: u_m, a vector for each micro-batch; empty for a micro-batch without outputs.
        alone: v_m, in the same form.
        same: whether two vectors are equal up to rounding.
    """
    found, separable = list[float](), True
    for u, v in zip(whole, alone, strict=True):
        counts = bool(v.numel()) and bool(torch.isfinite(v).all()) and bool(v.any())
        weight = float(u @ v / (v @ v)) if counts else 0.0
        found.append(weight)
        separable = separable and same(weight * torch.nan_to_num(v), u)
    return Weights(tuple(found), separable)


def weights_from_gradients(
    whole: Gradients, parts: list[Gradients], sizes: tuple[int, ...], same: Callable[[Tensor, Tensor], bool]
) -> Weights:
    """Weights with Σ_m w_m ∂ℓ_m/∂θ = ∂ℓ/∂θ, for outputs that are not laid out by samples.

    Candidates are N_m / N, 1 and 1/K; then the least-squares solution, if it is unique and exact.

    Args:
        whole: ∂ℓ/∂θ.
        parts: ∂ℓ_m/∂θ of each micro-batch.
        sizes: N_m, the samples of each micro-batch.
        same: whether two vectors are equal up to rounding.
    """
    matrix = torch.stack([flat(part) for part in parts], 1)
    right = flat(whole)
    total, count = sum(sizes), sum(map(bool, sizes))
    for usual in ([n / total for n in sizes], [1.0 * bool(n) for n in sizes], [bool(n) / count for n in sizes]):
        if same(matrix @ torch.tensor(usual, dtype=matrix.dtype), right):
            return Weights(tuple(w if part.any() else 0.0 for w, part in zip(usual, matrix.T, strict=True)), True)
    columns = [m for m, part in enumerate(matrix.T) if part.any()]
    if not columns or int(torch.linalg.matrix_rank(matrix[:, columns])) < len(columns) or len(columns) == len(right):
        return Weights(None, True)
    fitted = torch.linalg.lstsq(matrix[:, columns], right[:, None], driver="gelsd").solution[:, 0]
    if not same(matrix[:, columns] @ fitted, right):
        return Weights(None, False)
    weights = [0.0] * len(parts)
    for m, weight in zip(columns, fitted.tolist(), strict=True):
        weights[m] = weight
    return Weights(tuple(weights), True)


def weighted_sum(weights: Sequence[float], parts: list[Gradients]) -> Gradients:
    """Σ_m w_m G_m."""
    return {
        name: sum((w * part[name] for w, part in zip(weights, parts, strict=True) if w), torch.zeros_like(zero))
        for name, zero in parts[0].items()
    }


def flat(gradients: Gradients) -> Tensor:
    """All gradients as one vector."""
    return torch.cat([gradient.reshape(-1) for gradient in gradients.values()])
