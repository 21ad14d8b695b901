"""Layers of a user's own, as a user first meets them: alone, inside another module, with a symbol, with one number."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


class Gain(nets.Layer):
    """Y = a X, with one number a."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * self.a

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"a": (v * x).sum()}


class WrongPullback(Gain):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return 0 * v


def activation(symbol: str, slope: Any, forward: Any) -> nets.Activation:
    return type("Own", (nets.Activation,), {"symbol": symbol, "slope": slope, "forward": forward})()


TANH = (lambda self, z, y: 1 - y * y, lambda self, x: torch.tanh(x))
CUBE = (lambda self, z, y: 3 * z * z, lambda self, x: x**3)
CLIPPED = (lambda self, z, y: ((z > 0) & (z < 6)).to(z.dtype), lambda self, x: x.clamp(0, 6))


def test_a_layer_alone_is_verified_by_its_own_pullback() -> None:
    assert nets.verify(Gain(), X).passed
    assert nets.verify(WrongPullback(), X).verdict == "fail"


def test_a_note_names_layers_whose_pullback_is_not_used() -> None:
    certificate = nets.verify(nn.Sequential(nn.Linear(3, 2), WrongPullback()), X)
    assert any("1 (WrongPullback)" in note for note in certificate.notes)
    assert not any("Linear" in note for note in nets.verify(nn.Linear(3, 2), X).notes)


def test_a_symbol_that_is_a_difference_stands_in_brackets() -> None:
    network = nets.Network([nets.Linear(3, 2), activation("1 − {y}²", *TANH)])
    assert str(nets.verify(network, X).formulas["0.weight"]) == "∂Y_k/∂W_ij = δ_ki (1 − Y_k²) X_j"


def test_numbers_in_a_product_stand_apart() -> None:
    network = nets.Network([nets.Linear(3, 2), activation("3{z}²", *CUBE)])
    z = float(network.double()[0](X.double())[0, 1].detach())
    shown = dict(nets.explain(network, X.double(), "0.weight[1,2]").lines)["in numbers"]
    assert f"3 · {z:.6g}²" in shown.replace("(", "").replace(")", "")


def test_a_symbol_that_fails_at_one_sample_is_not_printed() -> None:
    linear = nets.Linear(3, 2)
    linear.weight.data.fill_(1.0)
    x = torch.cat([torch.full((12, 3), 0.1), torch.full((1, 3), 30.0)])
    network = nets.Network([linear, activation("[{z} > 0]", *CLIPPED)])
    assert ">" not in str(nets.verify(network, x).formulas["0.weight"])


def test_a_symbol_that_cannot_be_computed_is_an_input_error() -> None:
    network = nets.Network([nets.Linear(3, 2), activation("[0 < {z} < 6]", *CLIPPED)])
    with pytest.raises(nets.InputError, match=r"\[0 < \{z\} < 6\]"):
        nets.verify(network, X)


def descended(layer: nets.Layer, **options: Any) -> nets.Step:
    network, data = nets.Network([nets.Linear(3, 2), layer]), nets.Batch(X, torch.ones(4, 2))
    *_, last = nets.descend(network, data, loss=nets.MeanSquaredError(), learning_rate=0.1, steps=3, **options)
    return last


def test_one_number_has_a_norm_for_each_sample() -> None:
    closed, autograd = (descended(Gain(), sample_norms=True, engine=engine) for engine in ("closed_form", "autograd"))
    assert closed.sample_norms is not None and autograd.sample_norms is not None
    assert torch.allclose(closed.sample_norms.norms["1.a"], autograd.sample_norms.norms["1.a"], rtol=1e-4)


@pytest.mark.parametrize("found", [{}, None, {"a": torch.ones(2)}], ids=["missing", "none", "misshapen"])
def test_a_gradient_that_does_not_fit_is_an_input_error(found: Any) -> None:
    wrong = type("Wrong", (Gain,), {"gradients": lambda self, v, x, y: found})
    with pytest.raises(nets.InputError, match=r"Wrong\.gradients"):
        descended(wrong())


@pytest.mark.parametrize("found", [lambda v: None, lambda v: v[0]], ids=["none", "misshapen"])
def test_a_pullback_that_does_not_fit_is_an_input_error(found: Any) -> None:
    wrong = type("Wrong", (Gain,), {"pullback": lambda self, v, x, y: found(v)})
    with pytest.raises(nets.InputError, match=r"layer 1: Wrong\.pullback returned .*; expected .* shape \(\d, 4, 2\)"):
        nets.jacobians(nets.Network([nets.Linear(3, 2), wrong()]), X)


def test_a_network_without_layers_is_an_input_error() -> None:
    with pytest.raises(nets.InputError, match="no layers"):
        nets.verify(nets.Network([]), X)
