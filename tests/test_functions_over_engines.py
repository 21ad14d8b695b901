"""A forward over the functions of any engine: buffers, products with @, and what an engine cannot run."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.verification.derivations.engines import OutOfReachError, available
from tests.own_layers import CASES

EXACT = {"rtol": 1e-10, "atol": 1e-12}


class Centred(nets.Layer):
    """Y = X − C, with a buffer C, by operators, a product with @ and functions of m."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.linspace(-1, 1, 4, dtype=torch.float64))
        self.register_buffer("calls", torch.zeros(()))
        self.mix = nn.Parameter(torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(4, 4).sin())

    def function(self, m: Any, x: Any, mix: Any, centre: Any) -> Any:
        return (x - centre) @ mix

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v @ self.mix.mT

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"mix": (x - self.centre).mT @ v}


class WithMethods(Centred):
    """Its function calls a method that only some engines' arrays have."""

    def function(self, m: Any, x: Any, mix: Any, centre: Any) -> Any:
        return (x - centre + 0 * x.sum()) @ mix


class OfPyTorch(Centred):
    """Its function calls PyTorch."""

    def function(self, m: Any, x: Any, mix: Any, centre: Any) -> Any:
        return torch.relu(x - centre) @ mix


@pytest.mark.parametrize("engine", list(available()))
def test_a_function_takes_buffers_and_products(engine: str) -> None:
    case = CASES["scale"]
    network = case.network(Centred())
    assert nets.verify(network, case.x).passed
    found = available()[engine](network, case.x)
    for parameter, jacobian in nets.jacobians(network, case.x).items():
        torch.testing.assert_close(found[parameter], jacobian.dense(), **EXACT)


@pytest.mark.parametrize("engine", list(available()))
def test_a_function_that_an_engine_cannot_run_is_named(engine: str) -> None:
    case = CASES["scale"]
    fact = r"function of layer 1, a OfPyTorch, .*; expected .* m\.sum\(x\)"
    with pytest.raises(OutOfReachError, match=fact):
        available()[engine](case.network(OfPyTorch()), case.x)
    if engine in ("NumPy by hand", "TensorFlow"):
        with pytest.raises(OutOfReachError, match=r"layer 1, a WithMethods, uses x\.sum; expected"):
            available()[engine](case.network(WithMethods()), case.x)
