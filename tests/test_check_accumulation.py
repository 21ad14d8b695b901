"""check_accumulation names the fault of a wrong loop, passes right loops, and restores all state."""

import copy
import itertools
import random
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nets
from nets.records.loop_reason import LoopReason
from nets.records.reason import Reason
from nets.testing import assert_accumulation
from nets.verification.accumulation.check import _check
from tests.right_loops import RAGGED, RIGHT, Setting, by_samples, mlp, samples, sentences, token_sum, tokens
from tests.wrong_loops import WRONG, mean_of_means


@pytest.mark.parametrize("name", list(WRONG))
def test_a_wrong_loop_fails_with_its_reason(name: str) -> None:
    wrong = WRONG[name]
    certificate = nets.check_accumulation(wrong.module, wrong.loss, wrong.micro_batches, wrong.loop)
    assert certificate.verdict == ("inconclusive" if name == "dropout" else "fail")
    culprits = [check for check in certificate.checks if check.verdict == certificate.verdict]
    assert {check.reason for check in culprits} == {wrong.reason}, str(certificate)
    assert re.search(wrong.facts, certificate.sentence()), certificate.sentence()


@pytest.mark.parametrize("setting", RIGHT, ids=str)
def test_a_right_loop_passes(setting: Setting) -> None:
    with_closure = nets.check_accumulation(setting.module, setting.loss, setting.micro_batches, setting.right)
    without = nets.check_accumulation(setting.module, setting.loss, setting.micro_batches)
    assert with_closure.passed and without.passed, (str(with_closure), str(without))
    names = [name for name, p in setting.module.named_parameters() if p.requires_grad]
    assert [check.parameter for check in with_closure.checks] == names
    assert all(check.detects is not None and check.detects < 1e-9 for check in with_closure.checks)


def test_a_wrong_loop_fails_unless_it_is_harmless_there() -> None:
    """On equal and on unequal micro-batches, each loop fails unless it is harmless there."""
    loops = {wrong.loop.__name__: wrong.loop for wrong in WRONG.values()}
    harmless = {
        "equal": {"mean_of_means", "mean_over_ranks", "sum_divided", "by_samples", "last_window_lost"},
        "ragged": {"by_samples"},
    }
    harmless["equal"].add("contrastive")
    for setting in RIGHT[:2]:
        for name, loop in loops.items():
            if name == "odd_weights" and setting.name == "equal":
                continue
            passed = nets.check_accumulation(setting.module, setting.loss, setting.micro_batches, loop).passed
            assert passed == (name in harmless[setting.name]), (setting.name, name)


@pytest.mark.parametrize("fault", [1e-9, 1e-6, 1e-3])
def test_a_small_fault_fails(fault: float) -> None:
    def loop(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
        by_samples(module, loss, micro_batches)
        module[2].bias.grad *= 1 + fault  # type: ignore[index,union-attr,operator]

    certificate = nets.check_accumulation(mlp(), F.mse_loss, RAGGED, loop)
    assert {check.parameter: check.verdict for check in certificate.checks}["2.bias"] == "fail"
    assert [check.verdict for check in certificate.checks].count("fail") == 1


def test_the_error_equals_the_error_against_a_full_batch_gradient() -> None:
    """Micro-batches [4, 4, 2], loss / K: the error in the certificate equals the error against a plain full-batch
    gradient."""
    module = mlp()
    check = nets.check_accumulation(module, F.mse_loss, RAGGED, mean_of_means).checks[0]
    twin = copy.deepcopy(module).double()
    F.mse_loss(twin(torch.cat([x for x, _ in RAGGED]).double()), torch.cat([t for _, t in RAGGED]).double()).backward()
    right = twin[0].weight.grad.clone()  # type: ignore[index,union-attr]
    twin.zero_grad()
    mean_of_means(twin, F.mse_loss, [(x.double(), t.double()) for x, t in RAGGED])
    error = (twin[0].weight.grad - right).abs()  # type: ignore[index,union-attr]
    assert check.max_abs_error == pytest.approx(float(error.max()), rel=1e-9)
    assert check.worst_index == divmod(int(error.argmax()), 3)
    assert check.expected == pytest.approx(float(right.flatten()[error.argmax()]), rel=1e-9)


@pytest.mark.parametrize(
    ("loss", "micro_batches", "weights"),
    [
        (F.mse_loss, RAGGED, "0.4, 0.4, 0.2"),
        (nn.MSELoss(reduction="sum"), RAGGED, "1, 1, 1"),
        (F.mse_loss, samples((4, 0, 1), 3), "0.8, 0, 0.2"),
        (tokens, sentences((2, 3, 15)), "0.1, 0.15, 0.75"),
        (tokens, sentences((5, 0, 15)), "0.25, 0, 0.75"),
        (token_sum, sentences((5, 0, 15)), "1, 0, 1"),
    ],
)
def test_the_weights_follow_from_the_loss(loss: Any, micro_batches: Any, weights: str) -> None:
    module = (
        nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7))
        if micro_batches[0][0].ndim == 2 and loss in (tokens, token_sum)
        else mlp()
    )
    (note,) = nets.check_accumulation(module, loss, micro_batches).notes
    assert f" samples weigh {weights} in" in note


def test_module_inputs_and_random_state_are_unchanged() -> None:
    module = mlp(nn.BatchNorm1d(4), nn.Dropout(0.5))
    module[0].weight.grad = torch.ones(4, 3)  # type: ignore[index]
    given = copy.deepcopy(RAGGED)
    before = copy.deepcopy(module.state_dict())
    states = torch.random.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)

    def loop(m: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
        random.random(), np.random.rand(), torch.rand(3)
        by_samples(m, loss, micro_batches)
        for x, _ in micro_batches:
            x.zero_()

    nets.check_accumulation(module, F.mse_loss, given, loop)
    assert module.training and all(
        torch.equal(a, b) for a, b in zip(module.state_dict().values(), before.values(), strict=True)
    )
    # type: ignore[index,arg-type]
    assert torch.equal(module[0].weight.grad, torch.ones(4, 3)) and module[0].bias.grad is None
    assert all(
        torch.equal(a, b) for one, other in zip(given, RAGGED, strict=True) for a, b in zip(one, other, strict=True)
    )
    assert torch.equal(states[0], torch.random.get_rng_state()) and states[1] == random.getstate()
    assert np.array_equal(states[2]["state"]["key"], np.random.get_state(legacy=False)["state"]["key"])


class Keeping:
    """Stores its arguments, and counts its calls in an attribute, in its class and in a list of its class."""

    calls, called = 0, [0]

    def __init__(self) -> None:
        self.count, self.values, self.last = 0, list[Tensor](), torch.zeros(2)

    def __call__(self, y: Tensor, target: Tensor) -> Tensor:
        self.count += 1
        Keeping.calls += 1
        Keeping.called[0] += 1
        self.values.append(y)
        self.last.add_(target.mean(0))
        return F.mse_loss(y, target)


def test_state_hooks_and_optimizers_are_restored() -> None:
    module, loss = mlp(), Keeping()
    optimizer = torch.optim.Adam(module.parameters())
    by_samples(module, loss, RAGGED)
    optimizer.step()
    counted = list[int]()
    # type: ignore[index,union-attr,arg-type]
    module[0].weight.register_post_accumulate_grad_hook(lambda _: counted.append(1))
    calls, count, values, last = Keeping.calls, loss.count, list(loss.values), loss.last.clone()
    objects = [(p, p.data_ptr(), p.grad, p.dtype) for p in module.parameters()]
    state = copy.deepcopy(optimizer.state_dict())

    def loop(m: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
        optimizer.zero_grad()
        by_samples(m, loss, micro_batches)
        optimizer.step()

    assert nets.check_accumulation(module, loss, RAGGED, loop).verdict == "fail"
    assert (Keeping.calls, Keeping.called[0], loss.count) == (calls, calls, count) and torch.equal(loss.last, last)
    assert len(loss.values) == len(values) and all(one is other for one, other in zip(loss.values, values, strict=True))
    assert all(p.data_ptr() == at and p.grad is g and p.dtype == dtype for p, at, g, dtype in objects) and counted == []
    after = optimizer.state_dict()
    for one, other in zip(state["state"].values(), after["state"].values(), strict=True):
        assert all(torch.equal(one[key], other[key]) and one[key].dtype == other[key].dtype for key in one)


def test_a_note_names_a_loop_that_never_clears_the_gradient() -> None:
    def clears(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
        module.zero_grad()
        by_samples(module, loss, micro_batches)

    without, with_clearing = (
        nets.check_accumulation(mlp(), F.mse_loss, RAGGED, loop).notes for loop in (by_samples, clears)
    )
    assert any("zero_grad" in note for note in without) and not any("zero_grad" in note for note in with_clearing)


def test_a_bias_before_batch_norm_is_zero_up_to_rounding() -> None:
    certificate = nets.check_accumulation(mlp(nn.BatchNorm1d(4)), F.mse_loss, samples((6,), 3))
    assert certificate.passed
    assert {c.parameter: c.message for c in certificate.checks}[
        "0.bias"
    ] == "zero up to rounding: the loss does not depend on it"


def test_noise_as_large_as_the_gradients_does_not_show_that_a_gradient_is_zero() -> None:
    """'Zero up to rounding' requires rounding errors that are small compared with the gradients of other parameters."""
    small, large = torch.full((3,), 1e-12), torch.full((3,), 0.5)
    assert _check("bias", small, -small, 1e-11, 1.0).verdict == "pass"
    assert _check("bias", large, -large, 10.0, 1.0).verdict == "inconclusive"
    assert _check("bias", small, -small, 1e-11, 1e-12).verdict == "inconclusive"
    assert _check("bias", 0 * small, 0 * small, 1e-300, 0.0).verdict == "pass"


def test_the_reason_survives_json() -> None:
    certificate = nets.check_accumulation(mlp(), F.mse_loss, RAGGED, mean_of_means)
    again = nets.Certificate.from_json(certificate.to_json())
    assert {check.reason for check in again.checks} == {LoopReason.MEAN_OF_MEANS} and again == certificate
    assert not {reason.value for reason in Reason} & {reason.value for reason in LoopReason}


def test_a_dict_whose_keys_are_not_argument_names_is_one_argument() -> None:
    class Summed(nn.Linear):
        def forward(self, given: dict[int, Tensor]) -> Tensor:
            return super().forward(given[0] + given[1])

    batches = [({0: x, 1: x.flip(0)}, y) for x, y in RAGGED]

    def loop(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
        for given, target in micro_batches:
            (loss(module(given), target) * len(target) / 10).backward()

    assert nets.check_accumulation(Summed(3, 2), F.mse_loss, batches, loop).passed


def test_a_data_loader_and_an_iterator_are_accepted() -> None:
    loader = torch.utils.data.DataLoader(
        list(zip(*(torch.cat(t) for t in zip(*RAGGED, strict=True)), strict=True)), batch_size=4, shuffle=True
    )
    state = torch.random.get_rng_state()
    assert nets.check_accumulation(mlp(), F.mse_loss, loader, by_samples).passed
    assert nets.check_accumulation(mlp(), F.mse_loss, iter(RAGGED)).passed
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_certificate_survives_json_and_states_its_power() -> None:
    certificate = nets.check_accumulation(mlp(), F.mse_loss, RAGGED, by_samples)
    assert nets.Certificate.from_json(certificate.to_json()) == certificate
    assert re.fullmatch(
        r"pass: 26 entries, accumulated gradient against whole batch; a scale that is off by \de-1\d, and one "
        r"entry that is off by "
        r"\de-1\d of the largest, would have been seen\.",
        certificate.sentence(),
    )
    wrong = nets.check_accumulation(mlp(), F.mse_loss, RAGGED, mean_of_means)
    with pytest.raises(nets.GradientError, match="mean of means"):
        wrong.raise_if_failed()
    assert str(wrong).splitlines()[0].strip() == "largest error of the accumulated gradient against"


def test_a_certificate_names_at_most_three_mistakes() -> None:
    """If several mistakes give the same numbers, the certificate names the simplest."""
    for name, wrong in itertools.islice(WRONG.items(), 12):
        sentence = nets.check_accumulation(wrong.module, wrong.loss, wrong.micro_batches, wrong.loop).sentence()
        assert sentence.count(", or ") <= 2 and len(sentence) < 500, name


def test_assert_accumulation_raises_with_sentence_and_table() -> None:
    assert_accumulation(mlp(), F.mse_loss, RAGGED, by_samples)
    with pytest.raises(AssertionError) as caught:
        assert_accumulation(mlp(), F.mse_loss, RAGGED, mean_of_means)
    sentence, table = str(caught.value).split("\n\n", 1)
    assert sentence.startswith("fail: ∂loss / ∂0.weight[") and "mean of means" in sentence and sentence not in table
