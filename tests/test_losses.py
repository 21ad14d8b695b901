"""Each loss against PyTorch's own, and ∂ℓ/∂Y in closed form against automatic differentiation and differences."""

import pytest
import torch
from torch.nn import functional as F

from nets.calculus.losses import LOSSES, CrossEntropy, Loss, MaskedCrossEntropy, MeanSquaredError
from nets.errors import InputError

GENERATOR = torch.Generator().manual_seed(0)
Y = torch.randn(6, 4, generator=GENERATOR, dtype=torch.float64) * 3
TARGETS = {
    "mean_squared_error": torch.randn(6, 4, generator=GENERATOR, dtype=torch.float64),
    "cross_entropy": torch.tensor([0, 3, 1, 1, 2, 0]),
    "masked_cross_entropy": torch.tensor([0, 3, 1, 1, 2, 0]),  # with masked samples below
}
TORCH = {
    "mean_squared_error": F.mse_loss,
    "cross_entropy": F.cross_entropy,
    "masked_cross_entropy": F.cross_entropy,
}
EACH = pytest.mark.parametrize("name", list(LOSSES))


@EACH
def test_the_value_equals_that_of_torch(name: str) -> None:
    torch.testing.assert_close(LOSSES[name]()(Y, TARGETS[name]), TORCH[name](Y, TARGETS[name]), rtol=1e-14, atol=0)


@EACH
def test_the_gradient_equals_that_of_autograd(name: str) -> None:
    y = Y.clone().requires_grad_()
    (expected,) = torch.autograd.grad(TORCH[name](y, TARGETS[name]), y)
    torch.testing.assert_close(LOSSES[name]().gradient(Y, TARGETS[name]), expected, rtol=1e-13, atol=1e-16)


@EACH
def test_gradient_agrees_with_differences(name: str) -> None:
    loss, h = LOSSES[name](), 2.0**-17
    gradient = loss.gradient(Y, TARGETS[name])
    for n in range(6):
        for k in range(4):
            t = torch.zeros_like(Y)
            t[n, k] = h
            difference = (loss(Y + t, TARGETS[name]) - loss(Y - t, TARGETS[name])) / (2 * h)
            # Rounding leaves u ℓ / h = 5e-11, truncation h² = 6e-11.
            assert difference.item() == pytest.approx(gradient[n, k].item(), abs=2e-10)


@EACH
def test_micro_batches_weighted_by_their_share_give_the_whole(name: str) -> None:
    loss, target = LOSSES[name](), TARGETS[name]
    parts = [(slice(0, 4), 4 / 6), (slice(4, 6), 2 / 6)]
    value = sum(weight * loss(Y[part], target[part]) for part, weight in parts)
    gradient = torch.cat([weight * loss.gradient(Y[part], target[part]) for part, weight in parts])
    torch.testing.assert_close(value, loss(Y, target))
    torch.testing.assert_close(gradient, loss.gradient(Y, target))


MASKED = torch.tensor([0, -100, 1, -100, 2, -1])
# Each loss as a sum, by PyTorch alone. PyTorch's sum of squared errors is over the outputs as well, hence the 4.
SUMS = {
    "mean squared error": (
        MeanSquaredError,
        TARGETS["mean_squared_error"],
        lambda y, t: F.mse_loss(y, t, reduction="sum") / 4,
    ),
    "cross entropy": (CrossEntropy, TARGETS["cross_entropy"], lambda y, t: F.cross_entropy(y, t, reduction="sum")),
    "masked": (MaskedCrossEntropy, MASKED, lambda y, t: F.cross_entropy(y, t, reduction="sum")),
}


@pytest.mark.parametrize("name", list(SUMS))
def test_a_sum_equals_that_of_torch(name: str) -> None:
    kind, target, expected = SUMS[name]
    target = target.where(target != -1, -100) if name == "masked" else target  # the class that torch ignores
    y = Y.clone().requires_grad_()
    value = expected(y, target)
    torch.testing.assert_close(kind("sum")(Y, target), value.detach(), rtol=1e-14, atol=0)
    torch.testing.assert_close(
        kind("sum").gradient(Y, target), torch.autograd.grad(value, y)[0], rtol=1e-13, atol=1e-16
    )


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
    ],
)
def test_targets_that_do_not_fit_are_refused(loss: Loss, target: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        loss.check(Y, target)
