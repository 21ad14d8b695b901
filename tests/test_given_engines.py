"""Engines that a caller gives to `verify`: their results are checked before they are used."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import nets


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (lambda network, x: None, "the engine 'mine' returned None; expected a dict"),
        (lambda network, x: {}, "the engine 'mine' returned {}; expected a dict .* of 0.weight, 0.bias, input"),
        (
            lambda network, x: dict.fromkeys(("0.weight", "0.bias", "input"), 3),
            "the engine 'mine' returned 0.weight as a int",
        ),
        (lambda network: {}, "the engine 'mine' raises TypeError"),
    ],
)
def test_an_engine_that_returns_no_jacobians_is_an_input_error(engine: Callable[..., Any], message: str) -> None:
    with pytest.raises(nets.InputError, match=message):
        nets.verify(nets.mlp([2, 2]), torch.ones(1, 2), engines={"mine": engine})


def test_an_engine_must_not_have_the_name_of_a_derivation_of_verify() -> None:
    with pytest.raises(nets.InputError, match="'forward mode'"):
        nets.verify(nets.mlp([2, 2]), torch.ones(1, 2), engines={"forward mode": lambda network, x: {}})
