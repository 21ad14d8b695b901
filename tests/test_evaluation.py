"""Loss and accuracy of a network, for tokens too, and whether samples fit a network and a loss."""

import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.architectures import gpt
from nets.training import evaluation
from nets.training.evaluation import evaluate
from nets.training.fitting import expect_fit

TOKENS = torch.randint(5, (7, 3), generator=torch.Generator().manual_seed(0))


def small_gpt() -> nets.Network:
    return gpt(5, context=3, width=4, heads=2, blocks=1)


def masked(targets: Tensor) -> Tensor:
    """Targets of which some do not count: all of sample 1 among them."""
    found = targets.clone()
    found[1], found[4, 2], found[6, 1:] = -100, -100, -100
    return found


@pytest.mark.parametrize("at_once", [1, 2, 7, 1024])
def test_the_accuracy_of_tokens_is_that_of_the_tokens_that_count(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Parts that pass through the network one after the other weigh by what counts in them.
    monkeypatch.setattr(evaluation, "AT_ONCE", at_once)
    network, targets = small_gpt(), masked(TOKENS.roll(-1, 1))
    found = evaluate(network, nets.MaskedCrossEntropy(), nets.Batch(TOKENS, targets), 5)
    y = network(TOKENS).detach()
    counts = targets >= 0
    assert found.counted == int(counts.sum()) == 15
    assert found.accuracy == pytest.approx(float((y.argmax(2) == targets)[counts].double().mean()))
    mean = torch.nn.functional.cross_entropy(y[counts], targets[counts])
    assert found.loss == pytest.approx(float(mean), rel=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_in_parts_equals_the_loss_of_the_whole(reduction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, loss = nets.mlp([3, 4, 2]), nets.MeanSquaredError(reduction)
    batch = nets.Batch(torch.randn(7, 3), torch.randn(7, 2))
    whole = evaluate(network, loss, batch)
    monkeypatch.setattr(evaluation, "AT_ONCE", 3)
    assert evaluate(network, loss, batch).loss == pytest.approx(whole.loss, rel=1e-6)
    assert whole.accuracy is None and whole.loss == float(loss(network(batch.inputs), batch.targets).detach())


def test_spread_samples_lie_at_equal_distances() -> None:
    batch = nets.Batch(torch.arange(10)[:, None], torch.arange(10))
    assert batch.spread(4).targets.tolist() == [0, 2, 5, 7]
    assert batch.spread(None) is batch and batch.spread(10) is batch


def test_a_token_out_of_range_is_found_among_many_samples() -> None:
    # 256 samples are passed through the network, and the samples of the smallest and the largest token with them.
    x = torch.zeros(5_000, 3, dtype=torch.int64)
    targets = torch.zeros_like(x)
    expect_fit(small_gpt(), nets.CrossEntropy(), nets.Batch(x, targets))
    for token in (-1, 5):
        wrong = x.clone()
        wrong[4_000, 1] = token
        with pytest.raises(nets.InputError, match=rf"token.* {token}\b.*expected 0 to 4"):
            expect_fit(small_gpt(), nets.CrossEntropy(), nets.Batch(wrong, targets))


def test_a_target_out_of_range_is_found_among_many_samples() -> None:
    x, targets = torch.zeros(5_000, 3, dtype=torch.int64), torch.zeros(5_000, 3, dtype=torch.int64)
    targets[4_000, 1] = 5
    with pytest.raises(nets.InputError, match="classes 0 to 5, and there are 5 outputs"):
        expect_fit(small_gpt(), nets.CrossEntropy(), nets.Batch(x, targets))


def test_micro_batches_of_tokens_have_the_gradient_of_the_batch() -> None:
    # float64: two sums of the same numbers differ by rounding alone.
    batch = nets.Batch(TOKENS, masked(TOKENS.roll(-1, 1)))
    ends = []
    for size in (None, 2):
        network = small_gpt().double()
        steps = nets.descend(
            network, batch, loss=nets.MaskedCrossEntropy(), learning_rate=0.1, steps=3, micro_batch_size=size
        )
        losses = [step.loss for step in steps]
        ends.append((losses, [parameter.detach() for parameter in network.parameters()]))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-12)
    for whole, pieces in zip(ends[0][1], ends[1][1], strict=True):
        torch.testing.assert_close(whole, pieces, rtol=1e-9, atol=1e-12)
