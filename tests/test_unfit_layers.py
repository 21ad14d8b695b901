"""Layers whose methods do not fit the protocol: a right verdict, or one sentence that names the layer and method."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.calculus.layers import Linear, Tanh
from nets.records.reason import Reason
from nets.verification.derivations.engines import available

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TOKENS = torch.tensor([[1, 0], [2, 4], [4, 4]])


class Doubled(nets.Layer):
    """Y = 2 X, with parts that a test replaces."""

    def __init__(self, **methods: Callable[..., object]) -> None:
        super().__init__()
        for name, method in methods.items():
            object.__setattr__(self, name, method)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return 2 * v


class Gain(nets.Layer):
    """Y = a X, whose gradients a test replaces."""

    def __init__(self, gradients: Callable[[Tensor, Tensor, Tensor], object]) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
        object.__setattr__(self, "gradients", gradients)

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.a * v


class Elementwise(Tanh):
    """An activation whose forward or slope a test replaces."""

    def __init__(self, **methods: Callable[..., object]) -> None:
        super().__init__()
        for name, method in methods.items():
            object.__setattr__(self, name, method)


UNFIT: dict[str, tuple[Callable[[], nets.Layer], tuple[str, ...]]] = {
    "a pullback without the further axes": (
        lambda: Doubled(pullback=lambda v, x, y: (2 * v).sum(0)),
        ("Doubled.pullback", "the shape (5, 3)", ", 5, 3)"),
    ),
    "a pullback that returns nothing": (
        lambda: Doubled(pullback=lambda v, x, y: None),
        ("Doubled.pullback", "NoneType", ", 5, 3)"),
    ),
    "a pullback that fails": (
        lambda: Doubled(pullback=lambda v, x, y: v @ x),
        ("Doubled.pullback fails", "RuntimeError", ", 5, 3) in torch.float64"),
    ),
    "a pullback that writes into x": (
        lambda: Doubled(pullback=lambda v, x, y: 2 * v + 0 * x.mul_(2)),
        ("Doubled.pullback writes into x", "x.clone()"),
    ),
    "a pullback that writes into y": (
        lambda: Doubled(pullback=lambda v, x, y: y.copy_(y + 1) * 0 + 2 * v),
        ("Doubled.pullback writes into y", "y.clone()"),
    ),
    "gradients that write into v": (
        lambda: Gain(lambda v, x, y: {"a": v.mul_(x).sum()}),
        ("Gain.gradients writes into v", "v.clone()"),
    ),
    "gradients that write into x": (
        lambda: Gain(lambda v, x, y: {"a": x.mul_(v).sum()}),
        ("Gain.gradients writes into x", "x.clone()"),
    ),
    "gradients that fail": (lambda: Gain(lambda v, x, y: {"a": v @ x}), ("Gain.gradients fails", "RuntimeError")),
    "a slope of another shape": (
        lambda: Elementwise(slope=lambda z, y: torch.ones(2)),
        ("Elementwise.pullback fails", "RuntimeError"),
    ),
    "an activation of another shape": (
        lambda: Elementwise(forward=lambda x: x[:, :2], slope=lambda z, y: z),
        ("Elementwise.forward", "(5, 2)", "(5, 3)", "elementwise"),
    ),
    "a forward that returns a tuple": (lambda: Doubled(forward=lambda x: (x, x)), ("Doubled.forward", "tuple")),
    "a forward that returns a number": (lambda: Doubled(forward=lambda x: 3.0), ("Doubled.forward", "float")),
    "a forward that drops the samples": (
        lambda: Doubled(forward=lambda x: x.sum(0)),
        ("Doubled.forward", "(3,)", "(5, …)"),
    ),
    "a forward that returns a scalar": (lambda: Doubled(forward=torch.sum), ("Doubled.forward", "the shape ()")),
}


def jacobians(network: nets.Network, x: Tensor) -> list[Tensor]:
    """All entries: the Jacobian by the input is computed when it is asked for."""
    return [jacobian.dense() for jacobian in nets.jacobians(network, x).values()]


def refusal(call: Callable[[nets.Network, Tensor], object], layers: list[nets.Layer] | dict[str, nets.Layer]) -> str:
    with pytest.raises(nets.InputError) as refused:
        call(nets.Network(layers).double(), X.clone())
    return str(refused.value)


@pytest.mark.parametrize("call", [nets.verify, jacobians])
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("case", UNFIT)
def test_the_layer_and_its_method_are_named(
    case: str, number: int, call: Callable[[nets.Network, Tensor], object]
) -> None:
    layer, facts = UNFIT[case]
    layers = [*[Linear(3, 3), Tanh()][:number], layer(), Tanh(), Linear(3, 2)]
    said = refusal(call, layers)
    for fact in (f"layer {number}: ", *facts, "; expected "):
        assert fact in said, said


@pytest.mark.parametrize("call", [nets.verify, jacobians])
@pytest.mark.parametrize("case", UNFIT)
def test_a_layer_with_a_name_is_named_by_it(case: str, call: Callable[[nets.Network, Tensor], object]) -> None:
    said = refusal(call, {"first": Linear(3, 3), "body": UNFIT[case][0](), "head": Linear(3, 2)})
    assert "layer body: " in said, said


@pytest.mark.parametrize("call", [nets.verify, jacobians])
def test_a_layer_that_writes_into_its_cotangent_is_named(call: Callable[[nets.Network, Tensor], object]) -> None:
    writing = Doubled(pullback=lambda v, x, y: v.mul_(2))
    assert "layer 1: Doubled.pullback writes into v" in refusal(call, [Linear(3, 3), writing, Linear(3, 2)])
    assert "layer 1: Doubled.pullback writes into v" in refusal(call, [Linear(3, 3), writing])


def test_the_second_order_names_the_method_as_well() -> None:
    network = nets.Network([Linear(3, 3), UNFIT["a pullback that returns nothing"][0](), Linear(3, 2)])
    with pytest.raises(nets.InputError, match=r"Doubled\.pullback returned a NoneType"):
        nets.verify(network, X, order=2)


class Single(Tanh):
    """tanh in float32, whatever the precision of X."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x.float()).to(x.dtype)


def test_a_forward_in_lower_precision_is_not_taken_for_a_kink() -> None:
    certificate = nets.verify(nets.Network([Linear(3, 4), Single(), Linear(4, 2)]), X)
    assert certificate.verdict == "inconclusive"
    assert {check.reason for check in certificate.checks} == {None, Reason.LOWER_PRECISION}
    assert "layer 1, a Single, computes in float32" in certificate.sentence()
    certificate = nets.verify(nets.Network({"first": Linear(3, 4), "body": Single(), "head": Linear(4, 2)}), X)
    assert "layer body, a Single, computes in float32" in certificate.sentence()


def test_a_layer_that_returns_a_lower_precision_is_named() -> None:
    cast = Doubled(forward=lambda x: x.float())
    said = refusal(nets.verify, [Linear(3, 3), cast, Linear(3, 2)])
    assert "layer 2: after Doubled.forward turned torch.float64 into torch.float32, Linear.forward fails" in said


class Embedding(nets.Layer):
    """Y_ntd = W_{X_nt, d}."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(tokens, width, generator=torch.Generator().manual_seed(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[x]

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        raise TypeError("there is no derivative by a token")

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        zero = torch.zeros_like(self.weight, dtype=v.dtype)
        return {"weight": zero.index_add(0, x.flatten(), v.reshape(-1, v.shape[-1]))}


class FirstTokenAlone(Embedding):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": torch.zeros_like(self.weight, dtype=v.dtype).index_add(0, x[:, 0], v[:, 0])}


@pytest.mark.parametrize(("order", "width"), [(1, 3), (2, 3), (1, 1200)])
def test_whole_numbers_are_an_input_without_a_derivative(order: int, width: int) -> None:
    network = nets.Network([Embedding(5, width), Tanh()])
    certificate = nets.verify(network, TOKENS, order=order)
    assert certificate.passed, str(certificate)
    assert {check.parameter for check in certificate.checks} <= {"0.weight", "all"}


def test_a_bare_layer_takes_whole_numbers_too() -> None:
    assert nets.verify(Embedding(5, 3), TOKENS).passed


def test_the_jacobians_by_whole_numbers_are_absent() -> None:
    network = nets.Network([Embedding(5, 3)]).double()
    found = nets.jacobians(network, TOKENS)
    assert list(found) == ["0.weight"]
    expected = torch.zeros(3, 2, 3, 5, 3, dtype=torch.float64)
    for n, t, d in torch.cartesian_prod(*map(torch.arange, (3, 2, 3))).tolist():
        expected[n, t, d, TOKENS[n, t], d] = 1
    torch.testing.assert_close(found["0.weight"].dense(), expected)


def test_a_wrong_gradient_of_an_embedding_is_found() -> None:
    certificate = nets.verify(nets.Network([FirstTokenAlone(5, 3), Tanh()]), TOKENS)
    assert certificate.location is not None and certificate.location.methods == ("gradients",)
    assert {check.parameter for check in certificate.checks if check.verdict == "fail"} == {"0.weight", "all"}


def test_engines_that_take_no_whole_numbers_are_left_out() -> None:
    certificate = nets.verify(nets.Network([Embedding(5, 3)]), TOKENS, engines=available())
    assert certificate.passed and not {check.against for check in certificate.checks} & set(available())


def test_whole_numbers_for_a_layer_that_takes_none_are_refused() -> None:
    with pytest.raises(nets.InputError, match="X holds whole numbers"):
        nets.jacobians(nets.Network([Linear(2, 3)]), TOKENS)
