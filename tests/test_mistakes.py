"""Each mistake leaves the gradient that its closed form predicts: on the numbers of the lesson, and on a network."""

import copy
import functools
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import nets
from nets.data.batch import Batch
from nets.lessons.mistakes import MISTAKES, MistakenGradient, example, mistaken_gradient, table
from nets.training.gradients.source import GradientFunction, GradientSpec

EACH = pytest.mark.parametrize("name", list(MISTAKES))

# By hand, from y = v x² at x = 1: 2 v, of means over the samples.
NUMBERS = {
    "forgot_zero_grad": [(2, 2), (20, 22), (200, 222), (2000, 2222)],  # document 001
    "backward_twice": [(2, 4), (20, 40), (200, 400), (2000, 4000)],
    "ragged": [(2222 / 4, (222 / 3 + 2000) / 2)],
    "zero_grad_misplaced": [(2222 / 4, 2000 / 4)],
}


@EACH
def test_the_lesson_has_the_numbers_of_its_example(name: str) -> None:
    rows = example(MISTAKES[name])
    assert [(row.right, row.predicted) for row in rows] == [
        (pytest.approx(r), pytest.approx(p)) for r, p in NUMBERS[name]
    ]
    assert [row.measured for row in rows] == pytest.approx([row.predicted for row in rows], rel=1e-15)


def test_the_table_shows_the_numbers_of_the_example() -> None:
    lines = table(MISTAKES["forgot_zero_grad"]).splitlines()
    assert [line.split() for line in lines[-2:]] == [["{100}", "200", "222", "222"], ["{1000}", "2000", "2222", "2222"]]


def descents(name: str, **settings: Any) -> tuple[MistakenGradient, nets.Network, Callable[..., Any]]:
    generator = torch.Generator().manual_seed(0)
    data = Batch(*(torch.randn(40, width, generator=generator, dtype=torch.float64) for width in (3, 2)))
    network = nets.mlp([3, 4, 2], output="identity", generator=generator).double()
    defaults = {"learning_rate": 0.05, "steps": 12, "batch_size": 10, "micro_batch_size": 4}
    follow = functools.partial(nets.descend, data=data, loss=nets.MeanSquaredError(), **(defaults | settings))
    return MistakenGradient(MISTAKES[name]), network, follow


@EACH
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_predicted_error_is_measured_at_every_step(name: str, momentum: float) -> None:
    mistaken, network, follow = descents(name, momentum=momentum)
    written: list[tuple[int, dict[str, float]]] = []
    beside = follow(network=copy.deepcopy(network))
    steps = list(
        mistaken.compared(
            follow(network=network, gradient_source=mistaken), beside, lambda n, numbers: written.append((n, numbers))
        )
    )
    assert len(steps) == len(mistaken.rows) == 12 and mistaken.deviation < 1e-13
    for (number, numbers), row in zip(written, mistaken.rows, strict=True):
        assert numbers["mistake/error predicted"] == row.predicted == pytest.approx(row.measured, rel=1e-12, abs=1e-14)
        assert numbers["mistake/error measured"] == row.measured and "mistake/loss without it" in numbers
        assert (row.measured > 0.01) == (name != "forgot_zero_grad" or number > 1)
    for name_, norm in steps[-1].gradient_norm.items():
        gradient = network.get_parameter(name_).grad
        assert gradient is not None and float(gradient.norm()) == pytest.approx(norm)


def test_a_missing_zero_grad_equals_a_momentum_of_one() -> None:
    """V ← 1 V + G, θ ← θ − η V, by torch.optim.SGD on the same batches."""
    mistaken, network, follow = descents("forgot_zero_grad", micro_batch_size=None)
    twin, batches = copy.deepcopy(network), list[Batch]()

    class Watched:
        def prepare(self, spec: GradientSpec) -> GradientFunction:
            gradient_of = mistaken.prepare(spec)
            return lambda batch: (batches.append(copy.deepcopy(batch)), gradient_of(batch))[1]

    list(follow(network=network, gradient_source=Watched()))
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=1.0)
    for batch in batches:
        optimizer.zero_grad()
        nets.MeanSquaredError()(twin(batch.inputs), batch.targets).backward()
        optimizer.step()
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_backward_twice_equals_twice_the_learning_rate() -> None:
    mistaken, network, follow = descents("backward_twice")
    twin = copy.deepcopy(network)
    list(follow(network=network, gradient_source=mistaken))
    list(follow(network=twin, learning_rate=0.1))
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    assert [row.measured for row in mistaken.rows] == pytest.approx([1.0] * 12)


def test_a_wrong_formula_has_a_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    def predicted(self: object, before: Tensor, parts: list[Tensor], weights: tuple[float, ...]) -> Tensor:
        return 1.001 * sum((w * part for w, part in zip(weights, parts, strict=True)), torch.zeros_like(before))

    monkeypatch.setattr("nets.lessons.mistakes.Mistake.predicted", predicted)
    mistaken, network, follow = descents("backward_twice")
    list(follow(network=network, gradient_source=mistaken))
    assert mistaken.deviation > 0.9


@EACH
def test_check_accumulation_finds_each_mistake(name: str) -> None:
    mistaken, network, follow = descents(name)
    (step,) = follow(network=network, gradient_source=mistaken, steps=1)
    certificate = nets.check_accumulation(network, nets.MeanSquaredError(), mistaken.window, mistaken.mistake.loop)
    said = {
        "forgot_zero_grad": "a second window is added to the first: call zero_grad between them",
        "backward_twice": "looks like × 2: backward runs twice",
        "ragged": "looks like a mean of means",
        "zero_grad_misplaced": "looks like zero_grad inside the window: only micro-batch 3 is left",
    }
    assert said[name] in str(certificate) and certificate.passed == (name == "forgot_zero_grad")
    assert step.accumulation.sizes == (4, 4, 2) and not math.isnan(step.loss)


@pytest.mark.parametrize("name", ["ragged", "zero_grad_misplaced"])
def test_a_mistake_of_several_micro_batches_refuses_a_single_one(name: str) -> None:
    mistaken, network, follow = descents(name, micro_batch_size=None)
    with pytest.raises(nets.InputError, match=f"the mistake {name} needs several micro-batches, and a batch is one"):
        follow(network=network, gradient_source=mistaken)


def test_the_summary_of_a_run_names_the_mistake() -> None:
    mistaken, network, follow = descents("backward_twice")
    list(
        mistaken.compared(
            follow(network=network, gradient_source=mistaken), follow(network=copy.deepcopy(network)), lambda *_: None
        )
    )
    said = mistaken.summary(functools.partial(nets.check_accumulation, network, nets.MeanSquaredError()))
    assert re.findall(r"step [0-9]+", said["off by"]) == ["step 1", "step 2", "step 3", "step 10", "step 12"]
    assert said["  predicted"].split() == ["100.00", "%"] * 5 and said["  measured"].startswith(said["  predicted"])
    assert "with the mistake" in said["in the end"]
    assert (
        said["caught by"].startswith("nets.check_accumulation: fail: ") and "backward runs twice" in said["caught by"]
    )


def test_a_mistake_is_refused_in_several_processes() -> None:
    assert mistaken_gradient(None, 2) is None
    with pytest.raises(
        nets.InputError, match="mistake=ragged was given to 2 processes; expected one: leave torchrun away"
    ):
        mistaken_gradient("ragged", 2)
