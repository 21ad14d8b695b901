"""Synthetic data, against the rule that generates it."""

import math

import pytest
import torch

from nets.data import sine, teacher
from nets.errors import InputError


@pytest.mark.parametrize("depth", [1, 2])
def test_the_targets_are_the_output_of_the_teacher(depth: int) -> None:
    data = teacher(features=5, outputs=2, samples=50, depth=depth, seed=4)
    weight, bias = data.truth["0.weight"], data.truth["0.bias"]
    assert weight.shape == (2, 5) and bias.shape == (2,)
    assert len(data.train) == 40 and len(data.test) == 10
    for part in (data.train, data.test):
        exact = part.inputs.double() @ weight.double().T + bias.double()
        for _ in range(depth):
            exact = torch.tanh(exact)
        # Rounded once to float32: half a unit in the last place of a number below 1 is 2^-25.
        assert (part.targets - exact).abs().max() <= 2**-25


def test_the_teacher_saturates_moderately() -> None:
    # X_nj ~ N(0, 1), W_ij ~ N(0, 1/J), B_i ~ N(0, 1/4): P(|Y| < 0.95) = P(|N(0, 5/4)| < artanh 0.95) = 0.899.
    data = teacher(features=200, outputs=200, samples=500)
    expected = math.erf(math.atanh(0.95) / math.sqrt(2 * 1.25))
    assert expected == pytest.approx(0.899, abs=1e-3)
    assert (data.train.targets.abs() < 0.95).double().mean().item() == pytest.approx(expected, abs=0.01)


def test_the_teacher_is_recovered_by_artanh_and_least_squares() -> None:
    # Without noise Y determines W* and B*: artanh Y = W* X + B*, solved exactly but for the rounding of Y.
    data = teacher()
    table = torch.cat([data.train.inputs, torch.ones(len(data.train), 1)], 1).double()
    solution = torch.linalg.lstsq(table, torch.atanh(data.train.targets.double())).solution.T
    wanted = torch.cat([data.truth["0.weight"], data.truth["0.bias"][:, None]], 1)
    assert (solution - wanted).norm() / wanted.norm() < 1e-5


def test_noise_is_added_only_to_the_targets() -> None:
    for make in (teacher, sine):
        clean, noisy = make(samples=4000, seed=2), make(samples=4000, seed=2, noise=0.5)
        assert torch.equal(clean.train.inputs, noisy.train.inputs)
        assert all(torch.equal(clean.truth[name], noisy.truth[name]) for name in clean.truth)
        # The deviation of 3,200 numbers has a standard error of 1.3 %; the bound is four of them.
        assert (noisy.train.targets - clean.train.targets).std().item() == pytest.approx(0.5, rel=0.05)


def test_the_seed_determines_the_noise() -> None:
    before = torch.get_rng_state()
    for make in (teacher, sine):
        one, same, other = (make(noise=0.5, seed=seed) for seed in (1, 1, 2))
        assert torch.equal(one.train.targets, same.train.targets)
        assert not torch.equal(one.train.targets, other.train.targets)
    assert torch.equal(before, torch.get_rng_state())


def test_sine_covers_one_period() -> None:
    data = sine(samples=1000)
    inputs = torch.cat([data.train.inputs, data.test.inputs])
    assert data.train.inputs.shape == data.train.targets.shape == (800, 1)
    assert torch.equal(data.train.targets, data.train.inputs.sin())
    # The extremes of 1,000 uniform draws miss the ends by 2π/1001 on average; ten times that has probability e^-10.
    assert -math.pi <= inputs.min() < -math.pi + 0.063 and math.pi - 0.063 < inputs.max() <= math.pi


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"features": 0}, r"^features is 0; expected a whole number of at least 1\.$"),
        ({"outputs": -3}, r"^outputs is -3; expected a whole number of at least 1\.$"),
        ({"depth": 0}, r"^depth is 0; expected a whole number of at least 1\.$"),
        ({"samples": 2}, r"^samples is 2; expected a whole number of at least 3\.$"),
        ({"noise": -1.0}, r"^noise is -1\.0; expected a finite number of at least 0\.$"),
    ],
)
def test_a_bad_argument_of_the_teacher_is_named(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        teacher(**wrong)


def test_a_bad_argument_of_sine_is_named() -> None:
    with pytest.raises(InputError, match=r"^samples is 0;"):
        sine(samples=0)
    with pytest.raises(InputError, match=r"^noise is nan;"):
        sine(noise=math.nan)
