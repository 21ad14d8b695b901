"""NumPy, SymPy, TensorFlow and JAX derive the closed form on their own, and leave the process as they found it."""

import inspect
import math
import os
import subprocess
import sys
import warnings
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nets.calculus.jacobians import jacobians
from nets.calculus.layer import Layer
from nets.calculus.layers import ACTIVATIONS, Activation, Linear, ReLU, Tanh
from nets.calculus.network import Network, mlp
from nets.errors import InputError
from nets.verification.derivations import engines
from nets.verification.derivations.engines import OutOfReachError, available, symbolic
from nets.verification.derivations.engines.loading import load_package
from tests.cases import NETWORKS, Case

ROOT = Path(__file__).parents[1]
NAMES = ["NumPy by hand", "SymPy", "TensorFlow", "JAX"]
EACH = pytest.mark.parametrize("name", NAMES)


def derived(name: str, network: Network, x: Tensor) -> dict[str, Tensor]:
    if name in ("TensorFlow", "JAX") and name not in available():
        pytest.skip(f"{name} is not installed: it comes with the extra 'oracles'")
    return available()[name](network, x)


def closed_form(network: Network, x: Tensor) -> dict[str, Tensor]:
    return {name: jacobian.dense() for name, jacobian in jacobians(network, x).items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Equal to 1e-12 of the largest entry: rounding errors of large entries reach the small ones."""
    assert list(found) == list(expected)
    scale = max(float(jacobian.abs().max()) for jacobian in expected.values())
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-12 * scale)  # shape and dtype too


@EACH
@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_each_entry_equals_the_closed_form(name: str, case: Case) -> None:
    assert_same(derived(name, case.network, case.x), closed_form(case.network, case.x))


@EACH
def test_the_digits_network_is_within_reach(name: str) -> None:
    """64 → 10 with tanh, four samples: what experiment=tanh_linear proves."""
    network = mlp([64, 10]).double()
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_same(derived(name, network, x), closed_form(network, x))


@EACH
def test_numbers_of_the_source_document(name: str) -> None:
    """Document 003: d tanh x/dx at x = 2 is 1 − tanh² 2 = 0.0707, and z = tanh(tanh x) there has dz/dx = 0.0313."""
    x = torch.tensor([[2.0]], dtype=torch.float64)
    once = derived(name, Network([Tanh()]), x)["input"].item()
    twice = derived(name, Network([Tanh(), Tanh()]), x)["input"].item()
    assert once == pytest.approx(1 / math.cosh(2) ** 2, rel=1e-13)
    assert (round(once, 4), round(twice, 4)) == (0.0707, 0.0313)


@EACH
def test_engines_use_no_derivative_of_a_layer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any derivative of the layers, and without their forward in PyTorch, an engine still knows the
    Jacobian."""
    network = next(case.network for case in NETWORKS if case.name == "every activation")
    x = next(case.x for case in NETWORKS if case.name == "every activation")
    expected = closed_form(network, x)

    def fails(*_: object) -> Tensor:
        raise AssertionError("a derivative of a layer was used")

    for layer in (Layer, Linear, Activation, *ACTIVATIONS.values()):
        for method in {"forward", "slope", "pullback", "pushforward", "gradients"} & vars(layer).keys():
            monkeypatch.setattr(layer, method, fails)
    with pytest.raises(InputError, match="a derivative of a layer was used"):
        closed_form(network, x)
    assert_same(derived(name, network, x), expected)


@EACH
def test_a_wrong_derivative_of_a_layer_does_not_change_an_engine(name: str) -> None:
    class Halved(Tanh):
        def slope(self, z: Tensor, y: Tensor) -> Tensor:
            return (1 - y * y) / 2

    x = torch.tensor([[0.3, -1.2]], dtype=torch.float64)
    right = closed_form(Network([Tanh()]), x)
    assert_same(derived(name, Network([Halved()]), x), right)
    torch.testing.assert_close(closed_form(Network([Halved()]), x)["input"], right["input"] / 2)


@EACH
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_far_from_zero_nothing_overflows(name: str, activation: str) -> None:
    """e^800 is beyond float64. A warning of an overflow would be an error here."""
    z = [0.0, 5.0, 9.0, 15.0, 40.0, 300.0, 800.0, 1e5]
    x = torch.tensor([[s * v] for v in z for s in (1, -1)], dtype=torch.float64)
    network = Network([ACTIVATIONS[activation]()])
    found, expected = derived(name, network, x)["input"], closed_form(network, x)["input"]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=2e-15)


@pytest.mark.parametrize("name", ["NumPy by hand", "SymPy"])
def test_the_slope_in_the_tail_of_tanh_keeps_its_digits(name: str) -> None:
    """1 − tanh² z = 4 e^−2z (1 − 2 e^−2z + …): what 1 − Y² loses in float64, a part in 6,000 at z = 15, is there."""
    x = torch.tensor([[15.0], [40.0], [300.0]], dtype=torch.float64)
    expected = [4 * math.exp(-2 * z) * (1 - 2 * math.exp(-2 * z)) for z in (15, 40, 300)]
    assert derived(name, Network([Tanh()]), x)["input"].flatten().tolist() == pytest.approx(expected, rel=1e-13, abs=0)


@EACH
def test_engines_use_the_convention_of_the_closed_form_at_a_kink(name: str) -> None:
    x = torch.tensor([[-1.0, 0.0, 1.0]], dtype=torch.float64)
    assert derived(name, Network([ReLU()]), x)["input"][0].diagonal().tolist() == [0, 0, 1]


@EACH
def test_single_precision_is_derived_in_double(name: str) -> None:
    network = mlp([3, 2])
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    found = derived(name, network, x)
    assert network[0].weight.dtype == torch.float32
    assert_same(found, closed_form(network.double(), x.double()))


@EACH
def test_a_network_without_layers_is_the_identity(name: str) -> None:
    x = torch.ones(2, 3, dtype=torch.float64)
    assert derived(name, Network([]), x)["input"].tolist() == [torch.eye(3).tolist()] * 2


@EACH
def test_a_layer_whose_forward_is_for_pytorch_alone_is_out_of_reach(name: str) -> None:
    class Cubed(Activation):
        symbol = "3{z}²"

        def forward(self, x: Tensor) -> Tensor:
            return x**3

        def slope(self, z: Tensor, y: Tensor) -> Tensor:
            return 3 * z * z

    with pytest.raises(OutOfReachError, match="layer 1 is a Cubed"):
        derived(name, Network([Tanh(), Cubed()]), torch.ones(1, 1))


@EACH
def test_an_input_without_a_sample_axis_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"X has the shape \(3,\)"):
        derived(name, mlp([3, 2]), torch.ones(3))


@pytest.mark.parametrize("sizes", [[784, 10], [16, 200, 10]], ids=str)
def test_sympy_refuses_at_once_a_network_that_would_take_minutes(
    sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(name: str) -> None:
        raise AssertionError(f"{name} was loaded")

    monkeypatch.setattr(symbolic, "load_package", fails)
    with pytest.raises(OutOfReachError, match=r"its budget is 32,768"):
        available()["SymPy"](mlp(sizes), torch.ones(4, sizes[0]))


def test_sympy_without_a_value_is_out_of_reach() -> None:
    """mpmath 1.3 has no erfc below −1e154."""
    with pytest.raises(OutOfReachError, match="no value of layer 0"):
        available()["SymPy"](mlp([1, 1], output="gelu").double(), torch.full((1, 1), -1e200, dtype=torch.float64))


def test_an_engine_that_is_not_installed_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"numpy": ModuleSpec("numpy", None, origin="numpy/__init__.py"), "jax": ModuleSpec("jax", None)}
    found["numpy"].has_location = True
    monkeypatch.setattr(engines, "find_spec", found.get)
    # There is no sympy and no tensorflow, and a folder named jax without code in it.
    assert list(available()) == ["NumPy by hand"]


def test_the_engines_that_are_installed_with_torch_are_available() -> None:
    assert list(available())[:2] == ["NumPy by hand", "SymPy"]


def test_messages_and_settings_of_a_package_being_loaded_do_not_reach_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "talkative.py").write_text(
        inspect.cleandoc("""
            import os, warnings
            os.write(2, b"I0000 oneDNN custom operations are on\\n")
            warnings.warn("old", DeprecationWarning)
            level = os.environ["TF_CPP_MIN_LOG_LEVEL"]
            os.environ["HOME"] = "/nowhere"
            os.environ["TF2_BEHAVIOR"] = "1"
        """)
    )
    (tmp_path / "broken.py").write_text(
        "import os\nos.write(2, b'no such instruction\\n')\nraise ImportError('broken')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    before, filters = dict(os.environ), list(warnings.filters)
    assert load_package("talkative").level == "3"
    assert capfd.readouterr().err == ""
    with pytest.raises(ImportError, match="broken"):
        load_package("broken")
    assert capfd.readouterr().err == "no such instruction\n"
    assert (dict(os.environ), warnings.filters) == (before, filters)
    monkeypatch.delitem(sys.modules, "talkative")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")  # the caller sets how much compiled code writes
    assert load_package("talkative").level == "0"
    monkeypatch.delitem(sys.modules, "talkative")


def test_the_process_is_left_as_it_was() -> None:
    """In a process of its own, since much happens only at an engine's first use: no line, no warning, no setting."""
    script = """
import logging, os, random, sys, warnings
import numpy as np, torch
from nets.calculus.network import mlp
from nets.verification.derivations.engines import available

def state():
    jax, mpmath = sys.modules.get("jax"), sys.modules.get("mpmath")
    return {
        "environment": dict(os.environ), "warnings": list(warnings.filters), "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()), "random": random.getstate(), "threads": torch.get_num_threads(),
        "x64": bool(jax and jax.config.jax_enable_x64), "float": str(jax.numpy.ones(1).dtype) if jax else "float32",
        "digits": mpmath.mp.dps if mpmath else 15, "errors": np.geterr(), "default": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(), "logging": (list(logging.root.handlers), logging.root.level),
    }

network, x = mlp([3, 4, 2], activation="gelu"), torch.ones(2, 3)
numbers = {name: value.clone() for name, value in network.state_dict().items()}
assert not {"jax", "tensorflow"} & sys.modules.keys()
before = state()
for name, engine in available().items():
    engine(network, x)
    after = state()
    print(name, *(what for what in before if after[what] != before[what]))
assert all(torch.equal(value, network.state_dict()[name]) for name, value in numbers.items())
assert all(parameter.grad is None for parameter in network.parameters())
"""
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, list(available()), "")
