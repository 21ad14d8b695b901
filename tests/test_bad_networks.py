"""`mlp`, `Linear` and `Network` refuse wrong values in one sentence, whatever is drawn."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nets.calculus.layers import ACTIVATIONS, Linear
from nets.calculus.network import Network, mlp
from nets.errors import InputError, quoted
from tests.naming import named

BEYOND = [2**63, 2**64, 10**400, 10**5_000]
"""Whole numbers of more than 64 bits; Python has no repr of the last one."""


def sentence(error: BaseException) -> str:
    """The message of an error: one line, printable, and short enough to be read."""
    text = str(error)
    assert "\n" not in text and text.endswith(".") and len(text) < 500
    assert "expected" in text
    text.encode("utf-8")
    return text


@pytest.mark.parametrize(
    "sizes",
    [
        None, 3, 2.0, "23", b"\x02\x03", {2, 3}, {2: 3, 3: 4}, [2], [], [2, 0], [2, -1], [2, 3.0], [2, True], [2,
        None], [2, "3"],
        [2, [3]], [math.nan, 2], [math.inf, 2], range(0, 3), torch.tensor([2, 3]), np.array([2, 3]),
        [torch.tensor(2), 3],
        (size for size in (2, 3)), nn.Linear(2, 3), *[[size, 2] for size in BEYOND], *[[2, size] for size in BEYOND],
    ],
    ids=named,
)  # fmt: skip
def test_wrong_sizes_are_refused(sizes: Any) -> None:
    with pytest.raises(InputError, match="expected two or more whole numbers from 1 up, of 64 bits at most") as error:
        mlp(sizes)
    sentence(error.value)


@pytest.mark.parametrize("sizes", [[2, 2**60], [2**31, 2**31], [2**62, 2**62], [2**63 - 1, 2**63 - 1]], ids=str)
def test_sizes_beyond_the_memory_are_refused(sizes: list[int]) -> None:
    with pytest.raises(InputError, match=r"a weight of shape .* needs .* GiB") as error:
        mlp(sizes)
    sentence(error.value)


@pytest.mark.parametrize(
    "name", [None, 3, True, "", "tahn", "Tanh", "tanh ", "{0}%s", "\ud800", "x" * 10**6,
             b"tanh", ["tanh"], {}, torch.tanh, nn.Tanh()],
    ids=named,
)  # fmt: skip
@pytest.mark.parametrize("where", ["activation", "output"])
def test_unknown_activations_are_refused(where: str, name: Any) -> None:
    # The activation is checked even if there is no hidden layer.
    with pytest.raises(InputError, match=r"the activation is .*; expected one of tanh, sigmoid") as error:
        mlp([2, 3], **{where: name})
    sentence(error.value)


@pytest.mark.parametrize("output", ["+", "tanh+", "+tanh", "tanh++tanh", "tanh,tanh"])
def test_chains_with_a_gap_are_refused(output: str) -> None:
    with pytest.raises(InputError, match="the activation is '"):
        mlp([2, 3], output=output)


def test_a_chain_has_at_most_100_activations() -> None:
    assert len(mlp([2, 3], output="+".join(["tanh"] * 100))) == 101
    with pytest.raises(InputError, match="output chains 1,500 activations; expected at most 100") as error:
        mlp([2, 3], output="+".join(["tanh"] * 1_500))
    sentence(error.value)


@pytest.mark.parametrize(
    "gain", [None, "1", True, -1.0, -1, math.nan, math.inf, -math.inf, 1j, 1e300, 10**400, 10**5_000, [1],
    torch.tensor(1.0),
             torch.ones(2), np.float32(1)],
    ids=named,
)  # fmt: skip
def test_wrong_gains_are_refused(gain: Any) -> None:
    with pytest.raises(InputError, match=r"gain is .*; expected a finite number of at least 0") as error:
        mlp([2, 3], gain=gain)
    sentence(error.value)


def test_the_largest_gain_makes_weights_that_are_finite() -> None:
    with pytest.raises(InputError) as error:
        mlp([1, 1], gain=1e300)
    largest = float(sentence(error.value).partition("at most ")[2].partition(":")[0])
    assert torch.isfinite(mlp([1, 1], gain=largest * 0.99)[0].weight).all()


@pytest.mark.parametrize(
    "generator", [0, False, 3, "0", torch.Generator, np.random.default_rng(0), torch.get_rng_state()], ids=named
)
def test_wrong_generators_are_refused(generator: Any) -> None:
    with pytest.raises(InputError, match=r"generator is .*; expected a torch\.Generator on the CPU") as error:
        mlp([2, 3], generator=generator)
    sentence(error.value)


@pytest.mark.parametrize(
    "arguments", [(0, 1), (1, 2.0), (True, 1), (1, None), (1, 10**30), (1, 1, "False"), (1, 1, 0)], ids=str
)
def test_wrong_arguments_of_a_layer_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(InputError) as error:
        Linear(*arguments)
    sentence(error.value)


@pytest.mark.parametrize(
    "layers", [None, 3, [None], ["tanh"], "tanh", [nn.Tanh()], nn.Tanh(), {"0": nn.Tanh()}, torch.ones(2)],
    ids=named,
)  # fmt: skip
def test_networks_of_other_things_than_layers_are_refused(layers: Any) -> None:
    with pytest.raises(InputError) as error:
        Network(layers)
    sentence(error.value)


@pytest.mark.parametrize("name", ["", "a.b", 0, None, "forward", "training"])
def test_names_that_no_part_can_have_are_refused(name: Any) -> None:
    with pytest.raises(InputError) as error:
        Network({name: Linear(1, 1)})
    sentence(error.value)
    assert repr(name) in str(error.value)


def test_a_network_is_made_on_the_default_device() -> None:
    with torch.device("meta"):
        network = mlp([2, 3])
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}


X = torch.ones(2, 3)
BATCHES: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "a list": lambda: [[1.0, 2.0, 3.0]],
    "an array": lambda: np.ones((2, 3), np.float32),
    "a parameterless module": lambda: nn.Tanh(),
    "one sample": lambda: X[0],
    "no samples": lambda: X[:0],
    "another precision": lambda: X.double(),
    "half precision": lambda: X.half(),
    "unsigned numbers of 16 bits": lambda: X.to(torch.uint16),
    "truth values": lambda: X.bool(),
    "complex numbers": lambda: X.to(torch.complex64),
    "sparse": lambda: X.to_sparse(),
    "sparse by rows": lambda: X.to_sparse_csr(),
    "without numbers": lambda: X.to("meta"),
    "quantised": lambda: torch.quantize_per_tensor(X, 0.1, 0, torch.quint8),
    "nested": lambda: torch.nested.nested_tensor([X, X], layout=torch.jagged),
}


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch warns of its beta features
@pytest.mark.parametrize("network", [mlp([3, 2]), Network([ACTIVATIONS["tanh"]()])], ids=["with parameters", "without"])
def test_wrong_batches_are_refused(name: str, network: Network) -> None:
    parameterless = not list(network.parameters())
    if parameterless and name in ("another precision", "half precision", "without numbers"):
        return network.check(BATCHES[name]())
    with pytest.raises(InputError, match="X ") as error:
        network.check(BATCHES[name]())
    sentence(error.value)


HOSTILE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.binary(max_size=3),
    st.complex_numbers(),
    st.sampled_from([*BEYOND, [], {}, (), set(), object(), torch.ones(2), nn.Tanh(), np.int64(2), "{0}%s", "\ud800",
    lambda: 1]),
    st.lists(st.integers(-1, 4) | st.floats() | st.none(), max_size=4),
)  # fmt: skip
SIZES = st.lists(st.integers(1, 4), min_size=2, max_size=4) | st.lists(HOSTILE, max_size=3) | HOSTILE
NAMES = st.sampled_from([*ACTIVATIONS, "tanh+sin", "tanh+tanh+identity"]) | HOSTILE


@given(sizes=SIZES, activation=NAMES, output=NAMES, gain=st.floats(0, 10) | HOSTILE, generator=st.none() | HOSTILE)
@settings(max_examples=300)
def test_any_arguments_make_a_network_or_raise_one_sentence(
    sizes: Any, activation: Any, output: Any, gain: Any, generator: Any
) -> None:
    before = quoted((sizes, activation, output, gain, generator))
    state = torch.random.get_rng_state()
    try:
        network = mlp(sizes, activation, output, gain=gain, generator=generator)
    except InputError as error:
        sentence(error)
    else:
        assert network(torch.ones(1, sizes[0])).shape == (1, sizes[-1])
        assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
    assert quoted((sizes, activation, output, gain, generator)) == before
    assert torch.equal(torch.random.get_rng_state(), state)
