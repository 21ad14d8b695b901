"""For arguments that it cannot use, check_accumulation raises an InputError of one line: given, expected, remedy."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nets
from tests.right_loops import RAGGED, by_samples, mlp, samples


class Held:
    """A loop that uses its own model instead of the module it is called with."""

    def __init__(self) -> None:
        self.module = mlp()

    def __call__(self, module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
        by_samples(self.module, loss, [(x.float(), t.float()) for x, t in micro_batches])


def raising(module: nn.Module, loss: Any, micro_batches: list[Any]) -> None:
    for x, target in micro_batches:
        loss(module(x.float()), target).backward()


def per_sample(y: Tensor, target: Tensor) -> Tensor:
    return (y - target).square()


def per_output(y: Tensor) -> Tensor:
    return y.sum()


def of_threes(y: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(y @ torch.ones(3, 3, dtype=y.dtype), target)


def of_two(module: nn.Module, loss: Any) -> None:
    loss(module(RAGGED[0][0]), RAGGED[0][1]).backward()


class Silent(nn.Module):
    def forward(self, x: Tensor) -> None:
        return None


HELD = Held()
GIVEN: dict[str, tuple[tuple[Any, ...], str]] = {
    "no module": ((F.relu, F.mse_loss, RAGGED), "was given a function; expected a torch.nn.Module"),
    "no loss": ((mlp(), "mse", RAGGED), "loss is 'mse'; expected a function"),
    "no micro-batches": ((mlp(), F.mse_loss, []), "there are no micro-batches; expected a list"),
    "no pairs": ((mlp(), F.mse_loss, [x for x, _ in RAGGED]), "micro-batch 1 is a Tensor; expected a pair"),
    "no tensors": ((mlp(), F.mse_loss, [(1, 2)]), "micro-batch 1 .* int; expected tensors"),
    "all empty": ((mlp(), F.mse_loss, samples((0, 0), 3)), "every micro-batch is empty"),
    "all masked": ((mlp(), F.cross_entropy, [(x, torch.full((len(x),), -100)) for x, _ in RAGGED]), "the loss of "
                                                                                                    "the whole batch "),
    "other widths": ((mlp(), F.mse_loss, samples((2,), 3) + samples((2,), 4)), r"shapes such as \(2, 3\) and \(2, "
                                                                               r"4\); .* pad"),
    "a complex loss": ((mlp(), lambda y, t: 1j * (y - t).mean(), RAGGED), r"the loss is a complex number; "
                                                                          r"expected a real one"),
    "no scalar": ((mlp(), per_sample, RAGGED), r"the loss is \(10, 2\); expected a scalar"),
    "no parameters": ((nn.Tanh(), F.mse_loss, [(t, t) for _, t in RAGGED]), "no parameter that requires a gradient"),
    "raises": ((mlp(), F.mse_loss, RAGGED, raising), "the closure raises RuntimeError .* cast nothing to another "
                                                     "dtype"),
    "no function": ((mlp(), F.mse_loss, RAGGED, "loop"), "closure is 'loop'; expected a function"),
    "nothing to iterate": ((mlp(), F.mse_loss, 3), "the micro-batches are a int that cannot be iterated over"),
    "a loss of one argument": ((mlp(), per_output, RAGGED), r"the loss raises TypeError \(.*\); expected "
                                                            r"loss\(output, target\)"),
    "another shape": ((mlp(), of_threes, RAGGED), r"the loss raises RuntimeError \(.*10x2 and 3x3\)\); expected loss"),
    "two inputs": ((nn.Bilinear(3, 3, 2), F.mse_loss, RAGGED), r"the module raises TypeError \(.*'input2'\) for "
                                                               r"micro-batch 1"),
    "a loop of two": ((mlp(), F.mse_loss, RAGGED, of_two), r"the closure raises TypeError \(.*\); expected "
                                                           r"closure\(module, loss"),
    "no tensor": ((nn.Sequential(mlp(), Silent()), F.mse_loss, RAGGED), "the module returns a NoneType; expected "
                                                                        "tensors of"),
    "another model": ((HELD.module, F.mse_loss, RAGGED, HELD), "the closure raises RuntimeError .* cast nothing to an"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(GIVEN))
def test_an_unusable_argument_is_an_input_error_of_one_line(name: str) -> None:
    given, expected = GIVEN[name]
    with pytest.raises(nets.InputError, match=expected) as raised:
        nets.check_accumulation(*given)
    assert "\n" not in str(raised.value)
    # The sentence mentions the precision only if the code runs in its own precision.
    assert ("precision" in str(raised.value)) == (name in ("raises", "another model"))
