"""Each loss against PyTorch's own, and ∂ℓ/∂Y in closed form against automatic differentiation and differences."""

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import nets
from nets.calculus.losses import LOSSES, CrossEntropy, Huber, KLDivergence, Loss, MaskedCrossEntropy, MeanSquaredError
from nets.errors import InputError
from nets.training.gradients.sample_norms import SAMPLED
from tests.loss_rows import ROWS

GENERATOR = torch.Generator().manual_seed(0)
Y = torch.randn(6, 4, generator=GENERATOR, dtype=torch.float64) * 3
UNIT = torch.rand(6, 4, generator=GENERATOR, dtype=torch.float64)
TARGETS = {name: row.targets(UNIT) for name, row in ROWS.items()}
EACH = pytest.mark.parametrize("name", list(LOSSES))
BOTH = pytest.mark.parametrize("reduction", ["mean", "sum"])


def faults(loss: Loss, y: Tensor, target: Tensor, expected: Callable[[Tensor, Tensor], Tensor]) -> list[str]:
    """What differs from PyTorch: the value, the gradient, or both."""
    leaf = y.clone().requires_grad_()
    value = expected(leaf, target)
    (gradient,) = torch.autograd.grad(value, leaf)
    pairs = {"value": (loss(y, target), value.detach()), "gradient": (loss.gradient(y, target), gradient)}
    return [what for what, (one, other) in pairs.items() if not torch.allclose(one, other, rtol=1e-13, atol=1e-15)]


def test_every_loss_has_a_row() -> None:
    assert sorted(ROWS) == sorted(LOSSES)


@EACH
@BOTH
def test_value_and_gradient_equal_those_of_torch(name: str, reduction: str) -> None:
    loss, target = LOSSES[name](reduction), TARGETS[name]
    loss.check(Y, target)
    assert not faults(loss, Y, target, functools.partial(ROWS[name].torch, reduction=reduction))


@EACH
@BOTH
def test_gradient_agrees_with_differences(name: str, reduction: str) -> None:
    loss, h = LOSSES[name](reduction), 2.0**-17
    gradient = loss.gradient(Y, TARGETS[name])
    for n in range(6):
        for k in range(4):
            t = torch.zeros_like(Y)
            t[n, k] = h
            difference = (loss(Y + t, TARGETS[name]) - loss(Y - t, TARGETS[name])) / (2 * h)
            # Rounding leaves u ℓ / h = 5e-11, truncation h² = 6e-11; a sum is six times as large.
            assert difference.item() == pytest.approx(gradient[n, k].item(), abs=2e-10 if reduction == "mean" else 2e-9)


@EACH
def test_micro_batches_weighted_by_their_share_give_the_whole(name: str) -> None:
    loss, target = LOSSES[name](), TARGETS[name]
    parts = [(slice(0, 4), 4 / 6), (slice(4, 6), 2 / 6)]
    value = sum(weight * loss(Y[part], target[part]) for part, weight in parts)
    gradient = torch.cat([weight * loss.gradient(Y[part], target[part]) for part, weight in parts])
    torch.testing.assert_close(value, loss(Y, target))
    torch.testing.assert_close(gradient, loss.gradient(Y, target))


# Mistakes in ∂ℓ/∂Y that people make: each keeps the value.
WRONG: dict[str, Callable[[Loss, Tensor, Tensor], Tensor]] = {
    "mean_squared_error": lambda loss, y, t: (y - t) / y.numel(),  # the 2 is lost
    "l1": lambda loss, y, t: (t - y).sign() / y.numel(),  # the sign
    "huber": lambda loss, y, t: (y - t) / y.numel(),  # never clipped
    "cross_entropy": lambda loss, y, t: torch.softmax(y, 1) / len(y),  # δ is lost
    "masked_cross_entropy": lambda loss, y, t: CrossEntropy("sum").gradient(y, t) / y.numel(),  # mean over N K
    "binary_cross_entropy": lambda loss, y, t: (torch.sigmoid(y) - t) * torch.sigmoid(y) * (1 - torch.sigmoid(y)),
    "kl_divergence": lambda loss, y, t: (torch.softmax(y, 1) - t) / y.numel(),  # mean over N K
}


@EACH
def test_a_wrong_gradient_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOSSES[name], "gradient", WRONG[name])
    assert faults(LOSSES[name](), Y, TARGETS[name], functools.partial(ROWS[name].torch, reduction="mean")) == [
        "gradient"
    ]


# Tokens: 3 samples of 5, with the classes on the last axis. The last sample has one token that counts.
TOKENS = torch.randn(3, 5, 4, generator=GENERATOR, dtype=torch.float64)
CLASSES = torch.tensor([[0, 3, 1, 1, 2], [0, 0, 3, 2, 1], [2, 1, 0, 3, 3]])
RAGGED = torch.tensor([[0, 3, 1, 1, 2], [0, 0, 3, -100, -100], [2, -100, -100, -100, -100]])


@pytest.mark.parametrize(("kind", "target"), [(CrossEntropy, CLASSES), (MaskedCrossEntropy, RAGGED)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@BOTH
def test_tokens_with_smoothing_equal_those_of_torch(
    kind: type[CrossEntropy], target: Tensor, smoothing: float, reduction: str
) -> None:
    loss = kind(reduction, label_smoothing=smoothing)
    loss.check(TOKENS, target)
    assert not faults(
        loss, TOKENS, target,
        lambda y, t: F.cross_entropy(y.movedim(-1, 1), t, reduction=reduction, label_smoothing=smoothing),
    )  # fmt: skip


def test_the_weight_of_a_ragged_micro_batch_is_its_number_of_counted_tokens() -> None:
    loss = MaskedCrossEntropy()
    weights = [loss.counted(part) / loss.counted(RAGGED) for part in RAGGED.split(1)]
    assert weights == [5 / 9, 3 / 9, 1 / 9] and loss.counts(RAGGED).tolist() == [5, 3, 1]  # type: ignore[union-attr]
    pieces = list(zip(weights, TOKENS.split(1), RAGGED.split(1), strict=True))
    torch.testing.assert_close(sum(w * loss(y, t) for w, y, t in pieces), loss(TOKENS, RAGGED))
    gradient = torch.cat([w * loss.gradient(y, t) for w, y, t in pieces])
    torch.testing.assert_close(gradient, loss.gradient(TOKENS, RAGGED))


class Positions(nets.Layer):
    """Y_ntk = θ_k X_ntk."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([1.0, -0.5, 2.0, 0.3], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * self.scale

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"scale": (v * x).sum((0, 1))}


@pytest.mark.parametrize("engine", SAMPLED)
@BOTH
def test_the_norm_of_a_sample_of_tokens_belongs_to_its_own_loss(engine: str, reduction: str) -> None:
    network, loss = nets.Network(Positions()), MaskedCrossEntropy(reduction)
    expected = []
    for x, t in zip(TOKENS, RAGGED, strict=True):
        (gradient,) = torch.autograd.grad(loss(network(x[None]), t[None]), list(network.parameters()))
        expected.append(gradient.norm())
    norms = SAMPLED[engine]()(network, loss, nets.Batch(TOKENS, RAGGED))[2]
    torch.testing.assert_close(norms[0], torch.stack(expected), rtol=1e-12, atol=1e-14)


@BOTH
def test_the_noise_is_unknown_where_samples_weigh_differently(reduction: str) -> None:
    for targets, known in ((RAGGED, reduction == "sum"), (RAGGED.where(RAGGED < 0, 1)[:, :1], True)):
        network = nets.Network(Positions())
        data = nets.Batch(TOKENS[:, : targets.shape[1]], targets)
        (step,) = nets.descend(
            network, data, loss=MaskedCrossEntropy(reduction), learning_rate=0.1, steps=1, sample_norms=True
        )
        assert step.sample_norms is not None and step.sample_norms.count == 3 and (step.noise is not None) == known


MASKED = torch.tensor([0, -100, 1, -100, 2, -1])


def test_a_masked_mean_is_over_the_samples_that_count() -> None:
    loss, y = MaskedCrossEntropy(), Y.clone().requires_grad_()
    value = F.cross_entropy(y, MASKED.where(MASKED != -1, -100), ignore_index=-100)
    assert loss.counted(MASKED) == 3
    torch.testing.assert_close(loss(Y, MASKED), value.detach(), rtol=1e-14, atol=0)
    torch.testing.assert_close(loss.gradient(Y, MASKED), torch.autograd.grad(value, y)[0], rtol=1e-13, atol=1e-16)
    loss.check(Y, MASKED)


def test_without_samples_that_count_loss_and_gradient_are_zero() -> None:
    nothing = torch.full((6,), -100)
    assert MaskedCrossEntropy()(Y, nothing) == 0 and not MaskedCrossEntropy().gradient(Y, nothing).any()


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(InputError, match="reduction is 'average'; expected 'mean' or 'sum'"):
        MeanSquaredError("average")


def test_cross_entropy_of_large_logits_is_finite() -> None:
    y, target = torch.tensor([[1e4, -1e4]]), torch.tensor([1])
    assert CrossEntropy()(y, target) == 2e4
    assert CrossEntropy().gradient(y, target).tolist() == [[1, -1]]


@pytest.mark.parametrize(
    ("loss", "target", "message"),
    [
        (MeanSquaredError(), torch.zeros(6, 3), r"shape \(6, 3\).* the outputs the shape \(6, 4\)"),
        (MeanSquaredError(), torch.zeros(6, dtype=torch.int64), "use cross_entropy for classes"),
        (CrossEntropy(), torch.zeros(6, 4), "the class of each sample"),
        (CrossEntropy(), torch.tensor([0, 1, 2, 3, 4, 0]), "classes 0 to 4, and there are 4 outputs"),
        (CrossEntropy(), torch.tensor([0, -1, 2, 3, 1, 0]), "classes -1 to 3"),
        (CrossEntropy(), torch.zeros(6, 4, dtype=torch.int64), r"\(6, 4\).* the class of each token"),
        (nets.L1(), torch.zeros(6, 3), "L1"),
        (Huber(), torch.zeros(6, 4), "torch.float32.*torch.float64"),
        (nets.BinaryCrossEntropy(), UNIT + 0.5, "probabilities from 0 to 1"),
        (nets.BinaryCrossEntropy(), UNIT * torch.nan, "probabilities from 0 to 1"),
        (KLDivergence(), torch.zeros(6, 3).double(), r"\(6, 3\).*\(6, 4\)"),
        (KLDivergence(), UNIT, "add up to 1 with an error"),
        (KLDivergence(), torch.tensor([[1.5, -0.5, 0, 0]] * 6).double(), "begin at -0.5"),
    ],
)
def test_targets_that_do_not_fit_are_refused(loss: Loss, target: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        loss.check(Y, target)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Huber(delta=0), "delta is 0; expected a finite number above 0"),
        (lambda: CrossEntropy(label_smoothing=1), "label_smoothing is 1"),
        (lambda: CrossEntropy(label_smoothing=-0.1), "label_smoothing is -0.1"),
    ],
)
def test_an_argument_out_of_range_is_refused(made: Callable[[], Loss], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made()


def test_targets_of_probability_zero_and_large_logits_are_finite() -> None:
    y, target = torch.tensor([[1e4, -1e4]]), torch.tensor([[0.0, 1.0]])
    for kind, value in ((KLDivergence, 2e4), (nets.BinaryCrossEntropy, 1e4)):
        assert kind()(y, target) == value and kind().gradient(y, target).isfinite().all()
