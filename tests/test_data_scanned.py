"""The data sets that scikit-learn includes, against scikit-learn's own arrays."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits

from nets.data import DataSet, diabetes, digits, sine, teacher
from nets.errors import InputError


def every_input(data: DataSet) -> torch.Tensor:
    return torch.cat([data.train.inputs, data.test.inputs])


def test_digits_are_1797_scans_of_64_pixels_in_10_classes() -> None:
    # 1,797 = 1,438 + 359, a fifth of them held out (359.4).
    data = digits()
    assert data.train.inputs.shape == (1438, 64) and data.test.inputs.shape == (359, 64)
    assert data.train.targets.shape == (1438, 10) and data.test.targets.shape == (359, 10)
    assert data.classes == 10 and data.labels == tuple("0123456789") and data.name == "digits"
    assert {tensor.dtype for tensor in (data.train.inputs, data.train.targets)} == {torch.float32}


def test_digits_pair_each_scan_with_its_class() -> None:
    # With the scale undone, each row is a scan of scikit-learn with its class: one factor and one offset for all.
    data, by_class = digits(seed=3), digits(seed=3, targets="classes")
    scans, classes = load_digits(return_X_y=True)
    centred = torch.tensor(scans - scans.mean(0))
    given = every_input(data).double() - every_input(data).double().mean(0)
    scale = (centred.square().sum() / given.square().sum()).sqrt()
    distance, nearest = torch.cdist(given * scale, centred).min(1)
    assert distance.max() < 1e-3  # in units of grey, of which there are 16
    assert sorted(nearest.tolist()) == list(range(1797))
    expected = torch.cat([by_class.train.targets, by_class.test.targets])
    assert torch.equal(expected, torch.tensor(classes)[nearest])
    assert torch.equal(torch.cat([data.train.targets, data.test.targets]).argmax(1), expected)
    assert set(data.train.targets.unique().tolist()) == {-1.0, 1.0}
    assert (data.train.targets.sum(1) == 1 - 9).all()


def test_only_the_training_part_scales_the_digits() -> None:
    data = digits()
    assert data.train.inputs.mean(0).abs().max() < 1e-6
    assert data.train.inputs.square().mean().item() == pytest.approx(1, abs=1e-5)
    assert data.test.inputs.mean(0).abs().max() > 1e-2
    # These two pixels at the left are blank in all 1,797 scans.
    assert not data.train.inputs[:, 0].any()


def test_digits_hold_out_a_fifth_of_each_class() -> None:
    data = digits(targets="classes")
    expected = torch.bincount(torch.tensor(load_digits(return_X_y=True)[1]))
    assert (torch.bincount(data.test.targets) - expected * 359 / 1797).abs().max() < 1


def test_one_layer_of_tanh_learns_the_digits() -> None:
    # The main job must reach 93 %; this plain loop of 10 epochs reached 95.2 to 97.2 % with the seeds 0 to 4.
    data, generator = digits(), torch.Generator().manual_seed(0)
    weight, bias = torch.zeros(10, 64, requires_grad=True), torch.zeros(10, requires_grad=True)
    descent = torch.optim.SGD([weight, bias], lr=0.05, momentum=0.9)
    for _ in range(10):
        for batch in torch.randperm(1438, generator=generator).split(32):
            descent.zero_grad()
            outputs = torch.tanh(data.train.inputs[batch] @ weight.T + bias)
            (outputs - data.train.targets[batch]).square().mean().backward()
            descent.step()
    right = (data.test.inputs @ weight.T + bias).argmax(1) == data.test.targets.argmax(1)
    assert right.float().mean() >= 0.93


def test_only_the_training_part_standardises_the_diabetes_data() -> None:
    # 442 = 354 + 88.
    data = diabetes()
    assert data.train.inputs.shape == (354, 10) and data.train.targets.shape == (354, 1)
    assert data.test.inputs.shape == (88, 10) and data.test.targets.shape == (88, 1)
    assert data.classes is None
    for scores in (data.train.inputs, data.train.targets):
        assert scores.mean(0).abs().max() < 1e-6
        torch.testing.assert_close(scores.square().mean(0), torch.ones(scores.shape[1]))
    assert data.test.inputs.mean(0).abs().max() > 1e-2


def test_least_squares_on_diabetes_has_the_published_r_squared() -> None:
    # R² = 0.5177 of the 442 with all ten measurements (Efron et al. 2004, table 1), whatever the scale.
    data = diabetes()
    inputs, targets = every_input(data).double(), torch.cat([data.train.targets, data.test.targets]).double()
    table = torch.cat([inputs, torch.ones(442, 1)], 1)
    rest = targets - table @ torch.linalg.lstsq(table, targets).solution
    explained = 1 - rest.square().sum() / (targets - targets.mean()).square().sum()
    assert explained.item() == pytest.approx(0.5177, abs=1e-4)
    assert load_diabetes().data.shape == (442, 10)


MAKERS = [digits, diabetes, teacher, sine]


@pytest.mark.parametrize("make", MAKERS)
def test_the_seed_determines_the_split(make: Callable[..., DataSet]) -> None:
    one, same, other = make(seed=5), make(seed=5), make(seed=6)
    for part in ("train", "test"):
        assert torch.equal(getattr(one, part).inputs, getattr(same, part).inputs)
        assert torch.equal(getattr(one, part).targets, getattr(same, part).targets)
        assert not torch.equal(getattr(one, part).inputs, getattr(other, part).inputs)


@pytest.mark.parametrize("make", MAKERS)
def test_the_global_random_state_is_unchanged(make: Callable[..., DataSet]) -> None:
    # Python's own `random` is not checked, since the run-time type checks of the test suite use it.
    def states() -> tuple[object, ...]:
        _, words, position, *_ = np.random.get_state()
        return torch.get_rng_state().tolist(), words.tolist(), position

    before = states()
    make(seed=1)
    assert states() == before


@pytest.mark.parametrize("make", MAKERS)
def test_a_part_of_the_samples_is_held_out(make: Callable[..., DataSet]) -> None:
    data = make(test_fraction=0.5)
    assert abs(len(data.train) - len(data.test)) <= 1
    with pytest.raises(InputError, match=r"^test_fraction is 1\.5;"):
        make(test_fraction=1.5)
    with pytest.raises(InputError, match=r"^seed is -1;"):
        make(seed=-1)


def test_an_unknown_target_kind_is_named() -> None:
    with pytest.raises(InputError, match=r"^targets is 'onehot'; expected 'signed' or 'classes'\.$"):
        digits(targets="onehot")


def test_importing_the_data_sets_loads_neither_scikit_learn_nor_torchvision() -> None:
    # Each import takes seconds (sklearn.datasets 2 to 3 s); a run on other data does not need it.
    program = "import sys, nets.data; print([name for name in ('sklearn', 'torchvision') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
