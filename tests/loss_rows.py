"""Each loss of LOSSES with targets that fit it and the function of PyTorch that it equals. A new loss adds a row."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


class Row(NamedTuple):
    """A loss of LOSSES.

    Attributes:
        targets: numbers from 0 to 1, shape (N, K) → targets.
        torch: ℓ(Y, T, reduction) of PyTorch.
    """

    targets: Callable[[Tensor], Tensor]
    torch: Callable[[Tensor, Tensor, str], Tensor]


def _per_output(function: Callable[..., Tensor]) -> Callable[[Tensor, Tensor, str], Tensor]:
    """PyTorch's sums are over the outputs as well."""
    return lambda y, t, reduction: function(y, t, reduction=reduction) / (y[0].numel() if reduction == "sum" else 1)


def _kl(y: Tensor, t: Tensor, reduction: str) -> Tensor:
    return F.kl_div(F.log_softmax(y, 1), t, reduction="batchmean" if reduction == "mean" else "sum")


def _classes(y: Tensor, t: Tensor, reduction: str) -> Tensor:
    return F.cross_entropy(y, t, reduction=reduction)


ROWS: dict[str, Row] = {
    "mean_squared_error": Row(lambda u: u, _per_output(F.mse_loss)),
    "l1": Row(lambda u: u, _per_output(F.l1_loss)),
    "huber": Row(lambda u: u, _per_output(F.huber_loss)),
    "cross_entropy": Row(lambda u: u.argmax(1), _classes),
    "masked_cross_entropy": Row(lambda u: u.argmax(1), _classes),
    "binary_cross_entropy": Row(lambda u: u, _per_output(F.binary_cross_entropy_with_logits)),
    "kl_divergence": Row(lambda u: u / u.sum(1, keepdim=True), _kl),
}
