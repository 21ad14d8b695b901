"""Splits, standardisation and the encoding of classes, against their definitions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nets.data.one_hot import encode
from nets.data.splitting import split, standardise
from nets.errors import InputError


@given(st.integers(3, 200), st.floats(0.01, 0.99), st.integers(0, 2**63 - 1))
def test_the_parts_are_disjoint_and_complete(samples: int, fraction: float, seed: int) -> None:
    train, test = split(samples, fraction, seed)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(samples))
    assert len(test) == min(max(round(fraction * samples), 1), samples - 2)


def test_the_seed_determines_the_split() -> None:
    train, test = split(100, 0.2, 7)
    again, test_again = split(100, 0.2, 7)
    assert torch.equal(train, again) and torch.equal(test, test_again)
    assert set(test.tolist()) != set(split(100, 0.2, 8)[1].tolist())


@given(st.lists(st.integers(0, 3), min_size=3, max_size=60), st.floats(0.05, 0.95), st.integers(0, 99))
def test_each_class_is_held_out_in_proportion_to_within_one(classes: list[int], fraction: float, seed: int) -> None:
    labels = torch.tensor(classes)
    train, test = split(len(classes), fraction, seed, labels)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(len(classes)))
    for label in set(classes):
        share = classes.count(label) * len(test) / len(classes)
        assert abs((labels[test] == label).sum().item() - share) < 1


def test_classes_are_mixed_within_a_part() -> None:
    # The samples are sorted by class, 50 each; unmixed, the first 40 of the training part would be of one class.
    labels = torch.arange(150) // 50
    train, _ = split(150, 0.2, 0, labels)
    assert labels[train[:40]].unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.2, 1.5, math.nan, math.inf])
def test_a_fraction_out_of_range_is_named(fraction: float) -> None:
    with pytest.raises(InputError, match=r"^test_fraction is \S+; expected a finite number above 0 and below 1"):
        split(10, fraction, 0)


def test_too_few_samples_are_named() -> None:
    with pytest.raises(InputError, match=r"^2 samples cannot be split: at least 3"):
        split(2, 0.5, 0)


def test_standard_scores_by_hand() -> None:
    # Mean 3 and deviation 2 of 1, 5; mean 10 and deviation 0 of 10, 10. The held-out 7 is 2 deviations above the mean.
    train, test = standardise(
        torch.tensor([[1.0, 10.0], [5.0, 10.0]], dtype=torch.float64),
        torch.tensor([[7.0, 11.0]], dtype=torch.float64),
    )
    assert train.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert test.tolist() == [[2.0, 0.0]]
    assert train.dtype == test.dtype == torch.float32


def test_a_common_scale_by_hand() -> None:
    # Centred: ±2 and ±1; σ² = (4 + 4 + 1 + 1) / 4 = 2.5.
    train, test = standardise(torch.tensor([[1.0, 1.0], [5.0, 3.0]]), torch.tensor([[3.0, 4.0]]), common_scale=True)
    expected = torch.tensor([[-2.0, -1.0], [2.0, 1.0]]) / math.sqrt(2.5)
    torch.testing.assert_close(train, expected)
    torch.testing.assert_close(test, torch.tensor([[0.0, 2.0 / math.sqrt(2.5)]]))


@pytest.mark.parametrize("count", range(2, 60))
def test_a_constant_column_becomes_zero_although_its_mean_is_rounded(count: int) -> None:
    # In binary the mean of 0.1, 0.1, 0.1 is not 0.1, so a deviation computed from it is 1e-17, not 0; likewise for
    # other counts.
    column = torch.full((count, 1), 0.1, dtype=torch.float64)
    train, test = standardise(column, column[:2] + 1)
    assert not train.any() and not test.any()


def test_a_small_deviation_on_a_large_offset_survives() -> None:
    # In float32 1e8 ± 1 are the same number; in float64 the scores are exactly -1 and +1.
    train, _ = standardise(torch.tensor([[1e8 - 1], [1e8 + 1]], dtype=torch.float64), torch.zeros(1, 1).double())
    assert train.flatten().tolist() == [-1.0, 1.0]


def test_the_encoding_of_classes_by_hand() -> None:
    classes = torch.tensor([2, 0])
    assert encode(classes, 3, "signed").tolist() == [[-1.0, -1.0, 1.0], [1.0, -1.0, -1.0]]
    assert encode(classes, 3, "classes").tolist() == [2, 0]
    assert encode(classes, 3, "classes").dtype == torch.int64
