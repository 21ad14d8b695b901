"""Text as windows of characters, and a text that a network continues."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import nets
from nets.data import characters
from nets.data.text import CONTINUED, IGNORED

TEXT = "abcdefgh" * 40


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    return str(tmp_path / "text.txt")


def test_the_target_of_a_character_is_the_next_one(path: str) -> None:
    data = characters(path=path, context=10, stride=3)
    assert data.classes == 8 and "".join(data.labels) == "abcdefgh" and data.counted == "characters"
    first = "".join(data.labels[token] for token in data.train.inputs[1].tolist())
    following = "".join(data.labels[token] for token in data.train.targets[1].tolist())
    assert (first, following) == (TEXT[3:13], TEXT[4:14])
    # The last tenth is held out, in windows that do not overlap: 31 characters after the first of each window.
    assert data.test.inputs.shape == (3, 10) and data.train.inputs.shape == (93, 10)
    assert torch.equal(data.test.inputs.flatten(), torch.tensor([data.labels.index(c) for c in TEXT[288:318]]))


def test_the_seed_decides_where_ragged_windows_end(path: str) -> None:
    whole = characters(path=path, context=10, stride=3).train
    one, same, other = (characters(path=path, context=10, stride=3, shortest=4, seed=seed).train for seed in (1, 1, 2))
    lengths = (one.targets != IGNORED).sum(1)
    assert set(lengths.tolist()) == set(range(4, 11))
    for row, length in enumerate(lengths.tolist()):
        assert torch.equal(one.inputs[row, :length], whole.inputs[row, :length])
        assert torch.equal(one.targets[row, :length], whole.targets[row, :length])
        assert not one.inputs[row, length:].any() and (one.targets[row, length:] == IGNORED).all()
    assert torch.equal(one.targets, same.targets) and not torch.equal(one.targets, other.targets)
    assert torch.equal(
        characters(path=path, context=10, stride=3, shortest=4).test.targets,
        characters(path=path, context=10, stride=3).test.targets,
    )


def test_a_network_continues_the_text_held_out(path: str) -> None:
    data, seen = characters(path=path, context=10), set[int]()

    def next_letter(x: Tensor) -> Tensor:
        seen.add(x.shape[1])
        return 1e3 * torch.nn.functional.one_hot((x + 1) % 8, 8).double()

    written = data.continued(next_letter, torch.Generator().manual_seed(0))
    assert written == (TEXT * 2)[: 5 + CONTINUED]
    assert max(seen) == 10  # as many characters as a window has


def test_a_text_is_drawn_from_the_generator(path: str) -> None:
    data = characters(path=path, context=10)

    def even(x: Tensor) -> Tensor:
        return torch.zeros(*x.shape, 8)

    one, same, other = (data.continued(even, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert one == same != other
    # Eight letters with the same probability: each has 300/8 ± 4 deviations of the 300 drawn.
    assert all(12 <= one[5:].count(letter) <= 63 for letter in "abcdefgh")


def test_a_data_set_of_numbers_has_no_text() -> None:
    assert nets.data.sine(samples=20).continued(torch.tanh, torch.Generator()) == ""
