"""A sentence for each fault of the gradients, and none for healthy gradients."""

import math
from itertools import pairwise

import pytest
import torch

from nets.records.contributions import Accumulation
from nets.records.step import Step
from nets.telemetry.diagnosis.gradients import diagnose, exploding, not_finite, vanishing
from tests.stepping import changed


def step(norms: dict[str, float], ratios: dict[str, float] | None = None, loss: float = 2.3) -> Step:
    ratios = dict.fromkeys(norms, 1e-3) if ratios is None else ratios
    return Step.of(7, 1, loss, norms, ratios, Accumulation((1,), (1.0,)))


HEALTHY = step({"0.weight": 0.3, "0.bias": 0.1, "2.weight": 0.02, "2.bias": 0.5})


def first_step(layers: int, gain: float, *, learning_rate: float = 0.1, activation: type[torch.nn.Module]) -> Step:
    """The record of the first step of a classifier of 16 numbers, made with torch alone."""
    generator = torch.Generator().manual_seed(0)
    sizes = [16] * layers + [4]
    modules: list[torch.nn.Module] = []
    for wide, narrow in pairwise(sizes):
        linear = torch.nn.utils.skip_init(torch.nn.Linear, wide, narrow, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.normal_(0, gain / math.sqrt(wide), generator=generator)
            linear.bias.zero_()
        modules += [linear, activation()]
    network = torch.nn.Sequential(*modules[:-1])
    inputs = torch.randn(32, 16, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 4, (32,), generator=generator)
    loss = torch.nn.functional.cross_entropy(network(inputs), targets)
    loss.backward()
    named = {
        name: (p.grad.norm().item(), p.norm().item()) for name, p in network.named_parameters() if p.grad is not None
    }
    ratios = {name: learning_rate * g / p if p else math.inf for name, (g, p) in named.items()}
    return step({name: g for name, (g, _) in named.items()}, ratios, loss.item())


@pytest.mark.parametrize(
    ("layers", "gain", "activation"),
    [
        (1, 1.0, torch.nn.Tanh),
        (2, 1.0, torch.nn.Tanh),
        (20, 1.2, torch.nn.Tanh),
        (10, 1.41, torch.nn.ReLU),
        (3, 1.0, torch.nn.Sigmoid),
    ],
)
def test_networks_with_usual_initial_weights_have_no_fault(
    layers: int, gain: float, activation: type[torch.nn.Module]
) -> None:
    # Gains: √2 for ReLU (He et al., 2015); for tanh a little over 1 keeps the size of the signal over twenty layers.
    assert diagnose(first_step(layers, gain, activation=activation)) == {}


def test_small_weights_in_twenty_tanh_layers_make_gradients_vanish() -> None:
    record = first_step(20, 0.4, activation=torch.nn.Tanh)
    (sentence,) = diagnose(record).values()
    smallest = min((norm, name) for name, norm in record.gradient_norm.items() if name.endswith("weight"))
    assert sentence.startswith(f"gradients vanish: ‖∂ℓ/∂θ‖ of {smallest[1]} is {smallest[0]:.2g}, ")
    assert "that of 38.bias: it hardly learns (step 7)." in sentence


def test_large_weights_in_twenty_layers_make_gradients_explode() -> None:
    (sentence,) = diagnose(first_step(20, 5.0, activation=torch.nn.ReLU)).values()
    assert sentence.startswith("gradients explode: the update of ")


def test_gradients_that_grow_towards_the_input_explode_at_any_learning_rate() -> None:
    record = first_step(20, 8.0, learning_rate=1e-9, activation=torch.nn.Tanh)
    assert exploding(record) is not None
    assert "times larger than that of" in str(exploding(record))


def test_the_sentence_on_vanishing_has_the_norm_the_factor_and_the_parameters() -> None:
    record = step({"0.weight": 3.1e-9, "0.bias": 1e-9, "2.weight": 1e-4, "38.weight": 6.2e-3})
    assert vanishing(record) == (
        "gradients vanish: ‖∂ℓ/∂θ‖ of 0.weight is 3.1e-09, 2.0e+06 times smaller than that of 38.weight: it hardly "
        "learns (step 7)."
    )


def test_the_sentence_on_exploding_has_the_norm_the_factor_and_the_parameters() -> None:
    assert exploding(step({"0.weight": 500.0, "2.weight": 2.0, "4.weight": 0.2})) == (
        "gradients explode: ‖∂ℓ/∂θ‖ of 0.weight is 5e+02, 2,500 times larger than that of 4.weight: "
        "it grows on its way back to the input (step 7)."
    )
    assert exploding(changed(HEALTHY, update_ratio={"0.weight": 0.1, "2.weight": 53.0})) == (
        "gradients explode: the update of 2.weight is 53 times as long as 2.weight itself, with ‖∂ℓ/∂θ‖ = 0.02 (step "
        "7)."
    )


def test_the_thresholds_of_vanishing_and_exploding() -> None:
    for factor, speaks in ((999, False), (1001, True)):
        assert (vanishing(step({"0.weight": 1.0, "2.weight": factor})) is not None) is speaks
        assert (exploding(step({"0.weight": factor, "2.weight": 1.0})) is not None) is speaks
    for ratio, speaks in ((9.9, False), (10.1, True)):
        assert (exploding(changed(HEALTHY, update_ratio={"0.weight": ratio})) is not None) is speaks


@pytest.mark.parametrize(
    "record",
    [
        HEALTHY,
        step({"0.weight": 1e-12, "2.weight": 1e-12}, loss=1e-20),  # near a minimum every gradient is small
        step({"0.weight": 0.0, "0.bias": 0.0}, loss=0.0),  # at a minimum every gradient is zero
        step({"0.weight": 0.3, "0.bias": 0.0, "2.weight": 0.2}),  # a bias before a normalisation has no gradient
        step({"0.weight": 1e-6, "0.bias": 0.3}),  # small inputs of the only layer: there is no layer to compare it with
        step(
            {"0.weight": 0.3, "0.bias": 0.1}, {"0.weight": math.inf, "0.bias": math.inf}
        ),  # every parameter starts at zero
        step(
            {"0.weight": 0.0, "2.weight": 0.2}, {"0.weight": 0.0, "2.weight": math.inf}
        ),  # only the last layer starts at zero
        step({"0.weight": 0.3}, {"0.weight": 1.0}),  # the second step, after a start at zero
        step({"0.weight": 0.3, "2.weight": 0.0}),  # the last layer is not used
        step({}, {}, loss=0.5),
    ],
    ids=["well", "minimum", "bottom", "bias", "one layer", "zero", "zero last layer", "second step", "unused", "none"],
)
def test_a_healthy_record_has_no_fault(record: Step) -> None:
    assert diagnose(record) == {}


def test_a_gradient_of_exactly_zero_is_named() -> None:
    assert vanishing(step({"0.weight": 0.0, "2.weight": 0.0, "4.weight": 0.25})) == (
        "gradients vanish: ‖∂ℓ/∂θ‖ of 2.weight is exactly 0, while that of 4.weight is 0.25: it does not learn at all "
        "(step 7)."
    )
    assert (*diagnose(step({"0.weight": 0.0, "0.bias": 0.0}, loss=0.69)).values(),) == (
        "gradients vanish: every gradient is exactly 0, so the loss stays at 0.69 (step 7).",
    )


def test_a_weight_that_stays_at_zero_is_named() -> None:
    # All weights zero: only the last bias has a gradient, and each weight keeps the other at zero.
    ratios = {"0.weight": 0.0, "2.weight": 0.0, "2.bias": math.inf}
    record = step({"0.weight": 0.0, "2.weight": 0.0, "2.bias": 0.4}, ratios)
    assert str(vanishing(record)).startswith("gradients vanish: ‖∂ℓ/∂θ‖ of 0.weight is exactly 0")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_numbers_are_reported_alone(value: float) -> None:
    norms = {"0.weight": 1e-9, "2.weight": value, "2.bias": value}
    assert (*diagnose(step(norms, dict.fromkeys(norms, 99.0), loss=value)).values(),) == (
        f"not finite: ‖∂ℓ/∂θ‖ of 2.weight and 1 more is {value} at step 7, the loss is {value}.",
    )


def test_each_kind_of_non_finite_number_has_a_sentence() -> None:
    assert not_finite(changed(HEALTHY, loss=math.inf)) == (
        "not finite: the loss is inf at step 7, though every gradient norm is finite."
    )
    assert not_finite(changed(HEALTHY, gradient_norm=dict.fromkeys(HEALTHY.gradient_norm, 1e200))) == (
        "not finite: the total gradient norm is inf at step 7, though that of each parameter is finite."
    )
    assert not_finite(changed(HEALTHY, update_ratio={"0.weight": math.nan})) == (
        "not finite: the update of 0.weight is NaN at step 7, though its gradient is finite."
    )
    assert not_finite(changed(HEALTHY, update_ratio={"0.weight": math.inf})) is None
