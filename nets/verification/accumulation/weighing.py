"""What each micro-batch weighs in the loss over all of them, as that loss itself tells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Gradients = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Weights:
    """What was found.

    Attributes:
        values: w_m; None where no weights give the whole, or several do.
        separable: whether the loss is a sum of one term for each micro-batch, as far as that can be told.
    """

    values: tuple[float, ...] | None
    separable: bool


def by_cotangents(whole: list[Tensor], alone: list[Tensor], same: Callable[[Tensor, Tensor], bool]) -> Weights:
    """w_m = ⟨u_m, v_m⟩ / ⟨v_m, v_m⟩, where u_m is ∂ℓ/∂Y of the whole batch at the outputs of micro-batch m and v_m is ∂ℓ_m/∂Y of
    that micro-batch alone. Where nothing counts, ℓ_m is 0/0 or a constant, and the weight is 0.

    Args:
        whole: u_m, a vector for each micro-batch; empty for one without outputs.
        alone: v_m, likewise.
        same: whether two vectors are the same but for rounding.
    """
    found, separable = list[float](), True
    for u, v in zip(whole, alone, strict=True):
        counts = bool(v.numel()) and bool(torch.isfinite(v).all()) and bool(v.any())
        weight = float(u @ v / (v @ v)) if counts else 0.0
        found.append(weight)
        separable = separable and same(weight * torch.nan_to_num(v), u)
    return Weights(tuple(found), separable)


def by_gradients(
    whole: Gradients, parts: list[Gradients], sizes: tuple[int, ...], same: Callable[[Tensor, Tensor], bool]
) -> Weights:
    """Weights with Σ_m w_m ∂ℓ_m/∂θ = ∂ℓ/∂θ, where the outputs do not tell: the shares of the samples, those of the micro-batches,
    1, or whatever fits best where only one sum does."""
    matrix = torch.stack([flat(part) for part in parts], 1)
    right = flat(whole)
    total, count = sum(sizes), sum(map(bool, sizes))
    for plain in ([n / total for n in sizes], [1.0 * bool(n) for n in sizes], [bool(n) / count for n in sizes]):
        if same(matrix @ torch.tensor(plain, dtype=matrix.dtype), right):
            return Weights(tuple(w if part.any() else 0.0 for w, part in zip(plain, matrix.T, strict=True)), True)
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


def weighted(weights: Sequence[float], parts: list[Gradients]) -> Gradients:
    """Σ_m w_m G_m."""
    return {
        name: sum((w * part[name] for w, part in zip(weights, parts, strict=True) if w), torch.zeros_like(zero))
        for name, zero in parts[0].items()
    }


def flat(gradients: Gradients) -> Tensor:
    """All of them as one vector."""
    return torch.cat([gradient.reshape(-1) for gradient in gradients.values()])
