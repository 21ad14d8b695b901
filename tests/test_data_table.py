"""Reading a user's table, against results computed by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nets.data import DataSet, table
from nets.errors import InputError

PLANTS = """height,width,kind,mass
1.0,2.0,fern,10
2.0,2.0,moss,20
3.0,2.0,fern,30
4.0,2.0,moss,40
5.0,2.0,fern,50
6.0,2.0,moss,60
"""


def rows(data: DataSet) -> list[list[float]]:
    """Inputs and targets of both parts, one sorted row per sample."""
    parts = [torch.cat([part.inputs, part.targets.reshape(len(part), -1)], 1) for part in (data.train, data.test)]
    return sorted(torch.cat(parts).tolist())


@pytest.fixture
def plants(tmp_path: Path) -> Path:
    path = tmp_path / "plants.csv"
    path.write_text(PLANTS)
    return path


def archive(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "plants.npz"
    np.savez(path, **arrays)
    return path


def test_columns_and_target_by_hand(plants: Path) -> None:
    data = table(path=plants, columns=["width", "height"], target="mass", standardise=False)
    assert rows(data) == [[2.0, float(n), 10.0 * n] for n in range(1, 7)]
    assert data.train.inputs.shape == (5, 2) and data.test.targets.shape == (1, 1)
    assert data.train.inputs.dtype == data.test.targets.dtype == torch.float32
    assert data.name == "plants.csv" and data.classes is None and data.labels == ()


def test_all_columns_but_the_targets_are_inputs(plants: Path) -> None:
    plants.write_text(PLANTS.replace("fern", "0").replace("moss", "1"))
    data = table(path=plants, target=["mass", "width"], standardise=False)
    assert rows(data) == [[float(n), (n + 1) % 2, 10.0 * n, 2.0] for n in range(1, 7)]


def test_labels_are_numbered_in_sorted_order(plants: Path) -> None:
    data = table(path=plants, columns="height", target="kind", targets="classes", standardise=False)
    assert data.classes == 2 and data.labels == ("fern", "moss")
    assert rows(data) == [[float(n), (n + 1) % 2] for n in range(1, 7)]
    assert data.train.targets.shape == (len(data.train),) and data.train.targets.dtype == torch.int64
    signed = table(path=plants, columns="height", target="kind", targets="signed", standardise=False)
    assert rows(signed)[0] == [1.0, 1.0, -1.0] and rows(signed)[1] == [2.0, -1.0, 1.0]


def test_labels_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    # As text, 10 would come before 9.
    path = tmp_path / "marks.csv"
    path.write_text("x,mark\n1,10\n2,9\n3,10\n4,9\n")
    assert table(path=path, target="mark", targets="classes").labels == ("9", "10")


def test_only_the_training_part_determines_the_scale(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(5, 3, (50, 2))
    path = archive(tmp_path, X=values, y=values.sum(1))
    data, plain = (table(path=path, columns="X", target="y", standardise=on) for on in (True, False))
    for field in ("inputs", "targets"):
        train, test = (getattr(part, field).double() for part in (plain.train, plain.test))
        scaled_train, scaled_test = (getattr(part, field).double() for part in (data.train, data.test))
        mean, deviation = train.mean(0), train.std(0, correction=0)
        torch.testing.assert_close(scaled_train, (train - mean) / deviation, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(scaled_test, (test - mean) / deviation, atol=1e-6, rtol=1e-5)


def test_a_constant_column_becomes_zero(plants: Path) -> None:
    data = table(path=plants, columns="width", target="mass")
    assert not data.train.inputs.any() and not data.test.inputs.any()


def test_classes_are_not_scaled(plants: Path) -> None:
    data = table(path=plants, columns="height", target="kind", targets="signed")
    assert set(data.train.targets.unique().tolist()) == {-1.0, 1.0}


def test_the_seed_determines_the_split_and_each_class_is_held_out_in_proportion(tmp_path: Path) -> None:
    path = archive(tmp_path, X=np.arange(100.0), y=np.arange(100) % 4)
    one, same, other = (table(path=path, target="y", targets="classes", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.test.inputs, same.test.inputs) and not torch.equal(one.test.inputs, other.test.inputs)
    assert torch.bincount(one.test.targets).tolist() == [5, 5, 5, 5]
    assert len(rows(one)) == 100 and len({row[0] for row in rows(one)}) == 100


@pytest.mark.parametrize(
    "text",
    [
        PLANTS.replace(",", ";"),
        PLANTS.replace(",", "\t"),
        PLANTS.replace(",", ", "),
        PLANTS.replace("\n", "\r\n"),
        PLANTS.replace("\n", "\n\n") + "\n",
        "\ufeff" + PLANTS,
        PLANTS.rstrip("\n"),
        PLANTS.replace("fern", '"fern, the\n""first"""'),
        PLANTS.replace("fern", ' "fern, the first"'),
    ],
    ids=[
        "semicolon",
        "tab",
        "space",
        "windows",
        "blank lines",
        "byte-order mark",
        "no last newline",
        "quoted",
        "space before a quotation mark",
    ],
)
def test_the_same_table_in_other_formats(plants: Path, text: str) -> None:
    plants.write_bytes(text.encode())
    data = table(path=plants, columns=["height"], target="mass", standardise=False)
    assert rows(data) == [[float(n), 10.0 * n] for n in range(1, 7)]


def test_line_numbers_agree_with_an_editor(plants: Path) -> None:
    # The quoted field of line 2 ends on line 3, line 4 is blank, and the fault is in line 6.
    plants.write_text('height,note,mass\n1,"a\nb",2\n\n2,c,3\nx,d,4\n')
    with pytest.raises(InputError, match=r"^Column 'height' of .* has 'x' in line 6 "):
        table(path=plants, columns="height", target="mass")
    with pytest.raises(InputError, match=r"^Column 'note' of .* has 'a\\nb' in line 2 "):
        table(path=plants, columns="note", target="mass")


def test_arrays_are_named_and_concatenated_as_columns(tmp_path: Path) -> None:
    x = np.arange(12.0).reshape(6, 2)
    path = archive(tmp_path, X=x, extra=np.arange(6, dtype=np.uint8), y=np.arange(6) * 0.5)
    expected = [[2.0 * n, 2.0 * n + 1, float(n), 0.5 * n] for n in range(6)]
    assert rows(table(path=path, target="y", standardise=False)) == expected
    assert rows(table(path=path, columns=["X", "extra"], target="y", standardise=False)) == expected
    assert rows(table(path=path, columns="extra", target="X", standardise=False))[5] == [5.0, 10.0, 11.0]


@pytest.mark.parametrize(
    "labels",
    [["b", "a", "b", "a"], [7, 3, 7, 3], [7.0, 3.0, 7.0, 3.0], [[7], [3], [7], [3]], [True, False, True, False]],
)
def test_labels_from_an_archive(tmp_path: Path, labels: list[Any]) -> None:
    path = archive(tmp_path, X=np.arange(4.0), y=np.array(labels))
    data = table(path=path, target="y", targets="classes", standardise=False)
    assert rows(data) == [[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]]
    assert data.labels in {("a", "b"), ("3", "7"), ("False", "True")}


def test_large_offsets_do_not_lose_small_differences(tmp_path: Path) -> None:
    # In float32, 1e9 + 1 and 1e9 + 2 are equal; scaled in float64 first, they differ.
    path = tmp_path / "clock.csv"
    path.write_text("time,y\n" + "".join(f"{10**9 + n},{n % 2}\n" for n in range(10)))
    data = table(path=path, target="y")
    assert len(data.train.inputs.unique()) == len(data.train)


def test_the_global_random_state_is_unchanged(plants: Path) -> None:
    before = torch.get_rng_state()
    table(path=plants, columns="height", target="mass", seed=3)
    assert torch.equal(before, torch.get_rng_state())
