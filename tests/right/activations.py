"""Activations and losses of torch.nn. The points of those with a kink stand away from it."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from tests.building import Draw, Make, Written, below, between, built, fixed, shaped, spread

SMOOTH: list[Callable[[], nn.Module]] = [
    nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.GELU, lambda: nn.GELU(approximate="tanh"), nn.SiLU, nn.Mish, nn.Softplus,
    nn.Softsign, nn.Tanhshrink, lambda: nn.Softmax(-1), lambda: nn.LogSoftmax(-1), lambda: nn.Softmin(-1), nn.GLU,
]  # fmt: skip

KINKED: list[Callable[[], nn.Module]] = [
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, lambda: nn.PReLU(6), nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.Hardtanh,
    nn.Hardswish, lambda: nn.Hardshrink(0.42), lambda: nn.Softshrink(0.42), lambda: nn.Threshold(0.2, -1.0),
]  # fmt: skip
# nn.Hardsigmoid isn't among them: its backward pass has its 1/6 in single precision (see test_checker.py).


def _named(builds: list[Callable[[], nn.Module]], point: Draw) -> dict[str, Make]:
    return {f"activation {build()}".lower(): built(build, point) for build in builds}


ACTIVATIONS: dict[str, Make] = {
    **_named(SMOOTH, shaped(3, 6)),
    **_named(KINKED, spread(8, 6)),
    "dropout": built(nn.Dropout, shaped(4, 5)),
    "dropout of channels": built(lambda: nn.Dropout1d(0.4), shaped(3, 4, 2)),
    "alpha dropout": built(nn.AlphaDropout, shaped(4, 5)),
    "relu, everywhere dead": built(lambda: nn.Sequential(nn.Linear(3, 4), _Lowered(), nn.ReLU()), shaped(2, 3)),
}


class _Lowered(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - 100


def _log_probabilities(generator: torch.Generator) -> torch.Tensor:
    return shaped(3, 4)(generator).log_softmax(-1)


LOSSES: dict[str, Make] = {
    "cross-entropy": built(nn.CrossEntropyLoss, shaped(3, 4), below(4, 3)),
    "cross-entropy, weighted, smoothed": built(
        lambda: nn.CrossEntropyLoss(torch.tensor([0.5, 1, 2, 3]), label_smoothing=0.1), shaped(3, 4), below(4, 3)
    ),
    "cross-entropy of probabilities": built(nn.CrossEntropyLoss, shaped(3, 4), between(0, 0.5, 3, 4)),
    "cross-entropy, an index ignored": built(lambda: nn.CrossEntropyLoss(ignore_index=1), shaped(3, 4), fixed(1, 0, 3)),
    "negative log-likelihood": built(lambda: nn.NLLLoss(reduction="none"), _log_probabilities, below(4, 3)),
    "mean squared error": built(nn.MSELoss, shaped(3, 4), shaped(3, 4)),
    "absolute error": built(nn.L1Loss, spread(3, 4), between(-0.02, 0.02, 3, 4)),
    "smooth absolute error": built(nn.SmoothL1Loss, spread(3, 4), between(-0.02, 0.02, 3, 4)),
    "huber": built(lambda: nn.HuberLoss(delta=0.7), spread(3, 4), between(-0.02, 0.02, 3, 4)),
    "kullback-leibler": built(lambda: nn.KLDivLoss(reduction="batchmean"), _log_probabilities, between(0.1, 0.9, 3, 4)),
    "binary cross-entropy": built(nn.BCELoss, between(0.1, 0.9, 3, 2), between(0, 1, 3, 2)),
    "binary cross-entropy of labels": built(
        nn.BCELoss, lambda r: between(0.1, 0.9, 3, 2)(r).requires_grad_(), fixed([1.0, 0], [0, 1], [1, 1])
    ),
    "binary cross-entropy of logits": built(nn.BCEWithLogitsLoss, shaped(3, 2), between(0, 1, 3, 2)),
    "poisson": built(nn.PoissonNLLLoss, shaped(3, 2), between(1, 5, 3, 2)),
    "gaussian": built(nn.GaussianNLLLoss, shaped(3, 2), shaped(3, 2), between(0.5, 2, 3, 2)),
    "cosine of embeddings": built(nn.CosineEmbeddingLoss, shaped(3, 4), shaped(3, 4), fixed(1, -1, 1)),
    "margin between classes": built(lambda: nn.MultiMarginLoss(p=2), shaped(3, 4), below(4, 3)),
    "margin between labels": built(nn.MultiLabelMarginLoss, shaped(2, 4), fixed([3, 0, -1, 1], [1, -1, 0, 0])),
    "triplets": built(nn.TripletMarginLoss, shaped(3, 4), shaped(3, 4), shaped(3, 4)),
    "ranking": built(nn.MarginRankingLoss, shaped(5), shaped(5), fixed(1, -1, 1, 1, -1)),
    # By log-probabilities alone, torch's own is a wrong derivative; it stands in the other table.
    "connectionist temporal, of logits": lambda r: (
        Written(lambda m, x, *rest: F.ctc_loss(x.log_softmax(-1), *rest)),
        (shaped(4, 2, 3)(r), *(torch.tensor(lengths) for lengths in ([[1, 2], [2, 2]], [4, 4], [2, 1]))),
    ),
    "soft margin, its target without derivative": built(
        nn.SoftMarginLoss, lambda generator: shaped(3, 2)(generator).requires_grad_(), fixed([1.0, -1], [-1, 1], [1, 1])
    ),
    "cosine similarity": built(nn.CosineSimilarity, shaped(3, 4), shaped(3, 4)),
    "distance of pairs": built(nn.PairwiseDistance, shaped(3, 4), shaped(3, 4)),
    "adaptive log-softmax, a named tuple": built(
        lambda: nn.AdaptiveLogSoftmaxWithLoss(2, 4, [2], div_value=1.0), shaped(2, 2), fixed(0, 3)
    ),
}
