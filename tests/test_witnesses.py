"""Forward mode and the complex step as witnesses, and gradients that are meant to differ from the derivative."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.calculus.layers import Activation, Linear
from nets.records.reason import Reason
from tests.building import Written
from tests.wrong.causes import Rounded


def _randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class _Square(torch.autograd.Function):
    """x², with a right backward and a forward mode that forgets the factor 2."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * v

    @staticmethod
    def jvp(ctx: Any, t: Tensor) -> Tensor:
        return ctx.saved_tensors[0] * t


class _OnlyBackward(torch.autograd.Function):
    """x², with a backward and no forward mode."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * v


class Squared(nn.Linear):
    """(X Wᵀ + b)², by one of the two functions; of the size that is wanted."""

    def __init__(self, square: type[torch.autograd.Function], size: int) -> None:
        super().__init__(size, size)
        self.square = square
        with torch.no_grad():
            self.weight.copy_(_randn(size, size) / size**0.5)
            self.bias.copy_(_randn(size))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.square.apply(super().forward(x))  # type: ignore[no-untyped-call]
        return y


SIZES = {"every entry": (4, {}), "along directions": (70, {"coverage": "full"}), "probed": (80, {})}
"""Up to 4,096 numbers in a point forward mode goes along each entry, beyond along random directions; and beyond 5,000
in all points there are probes."""


@pytest.mark.parametrize("case", list(SIZES))
def test_a_wrong_forward_mode_is_a_note_and_a_failure_where_it_is_required(case: str) -> None:
    size, options = SIZES[case]
    module, x = Squared(_Square, size), _randn(1, size)
    certificate = nets.verify(module, x, **options)
    assert certificate.passed, str(certificate)
    (note,) = [note for note in certificate.notes if "forward mode" in note]
    assert "forward mode differs from reverse mode for weight, bias and input" in note
    assert "differences agree with reverse mode" in note
    required = nets.verify(module, x, forward="required", **options)
    assert required.verdict == "fail" and "forward mode" in required.sentence()


@pytest.mark.parametrize("case", list(SIZES))
def test_a_missing_forward_mode_is_a_note_and_a_failure_where_it_is_required(case: str) -> None:
    size, options = SIZES[case]
    module, x = Squared(_OnlyBackward, size), _randn(1, size)
    certificate = nets.verify(module, x, **options)
    assert certificate.passed and "no forward mode for weight, bias and input" in certificate.notes
    required = nets.verify(module, x, forward="required", **options)
    assert required.verdict == "fail" and required.decisive.reason is Reason.FORWARD_MODE_MISSING


def test_a_right_forward_mode_passes_where_it_is_required() -> None:
    for size, options in SIZES.values():
        assert nets.verify(nn.Linear(size, size), _randn(1, size), forward="required", **options).passed


def test_forward_mode_is_a_witness_at_second_order_too() -> None:
    module, x = Written(lambda self, x: _Square.apply(x) * x), _randn(3)
    certificate = nets.verify(module, x, order=2)
    assert certificate.passed and any("forward mode differs" in note for note in certificate.notes), str(certificate)
    assert nets.verify(module, x, order=2, forward="required").verdict == "fail"


class SquareLayer(Activation):
    """Y = X², right in closed form, whose forward has a wrong forward mode."""

    symbol = "2 {z}"

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Square.apply(x)  # type: ignore[no-untyped-call]
        return y

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        return 2 * z


@pytest.mark.parametrize(("widths", "options"), [((3, 2), {}), ((80, 80), {})], ids=["every entry", "probed"])
def test_a_wrong_forward_mode_does_not_make_the_closed_form_fail(
    widths: tuple[int, int], options: dict[str, Any]
) -> None:
    network = nets.Network([Linear(*widths), SquareLayer()])
    x = _randn(2, widths[0])
    certificate = nets.verify(network, x, **options)
    assert certificate.passed and any("forward mode differs from closed form" in note for note in certificate.notes), (
        certificate
    )
    assert nets.verify(network, x, forward="required", **options).verdict == "fail"


class TwoFaults(nn.Module):
    """One input whose forward mode is wrong and one whose backward is, in either order."""

    def __init__(self, swapped: bool) -> None:
        super().__init__()
        self.swapped = swapped

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        harmless, faulty = (b, a) if self.swapped else (a, b)
        y: Tensor = _Square.apply(harmless) + faulty.sin().detach() + 1.01 * (faulty.sin() - faulty.sin().detach())
        return y


@pytest.mark.parametrize("forward", ["optional", "required"])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_wrong_backward_is_reported_before_a_wrong_forward_mode(swapped: bool, forward: str) -> None:
    certificate = nets.verify(TwoFaults(swapped), _randn(3), _randn(3) + 1, forward=forward)
    sentence = certificate.sentence()
    assert sentence.startswith("fail: ∂Y") and f"∂input[{0 if swapped else 1}]" in sentence.split(":")[1]
    assert "reverse mode gives" in sentence and "forward mode gives" not in sentence


def test_another_value_of_forward_is_an_input_error() -> None:
    with pytest.raises(nets.InputError, match="forward is 'needed'; expected 'optional' or 'required'"):
        nets.verify(nn.Tanh(), _randn(2), forward="needed")  # type: ignore[arg-type]


class _Flat(torch.autograd.Function):
    """tanh, with a backward of zero and a right forward mode."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.tanh()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Tensor:
        return torch.zeros_like(v)

    @staticmethod
    def jvp(ctx: Any, t: Tensor) -> Tensor:
        return t / ctx.saved_tensors[0].cosh() ** 2


def test_without_differences_two_witnesses_are_needed_for_a_fault() -> None:
    """At x = 16.5 the slope of tanh is 1.9e-14, which no difference of numbers of size 10⁶ shows; forward mode and the
    complex step do. There is no complex step through a function that compares numbers."""
    x = torch.tensor([16.5], dtype=torch.float64)
    both = nets.verify(Written(lambda m, x: 1e6 + _Flat.apply(x)), x)
    assert both.verdict == "fail" and "reverse mode gives 0 where forward mode gives" in both.sentence()
    alone = nets.verify(Written(lambda m, x: 1e6 + _Flat.apply(x.relu())), x)
    assert alone.verdict != "fail"
    assert any("forward mode differs" in note and "differences cannot tell" in note for note in alone.notes)


def test_a_stated_closed_form_is_a_witness() -> None:
    module, x = nn.Linear(3, 2).double(), _randn(2, 3)

    def right(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
        return {"weight": torch.einsum("ki,nj->nkij", torch.eye(2).double(), x)}

    def wrong(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
        return {"weight": -right(module, x)["weight"]}

    assert nets.verify(module, x, closed_form=right).passed
    certificate = nets.verify(module, x, closed_form=wrong)
    (failed,) = [check for check in certificate.checks if check.verdict == "fail"]
    assert failed.oracle == "stated closed form" and failed.reason is Reason.WRONG_SIGN


class Straight(torch.autograd.Function):
    """round, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: object, v: Tensor) -> Tensor:
        return v


def test_a_straight_through_estimator_fails_unless_it_is_intended() -> None:
    module, x = Written(lambda self, x: Straight.apply(x)), torch.tensor([0.2, 1.3, -0.7])
    certificate = nets.verify(module, x)
    assert certificate.verdict == "fail"
    assert nets.verify(module, x, intended=("input",)).passed
    identity = {"input": torch.eye(3)}
    assert nets.verify(module, x, intended=("input",), closed_form=lambda module, x: identity).passed
    double = {"input": 2 * torch.eye(3)}
    assert not nets.verify(module, x, intended=("input",), closed_form=lambda module, x: double).passed


def test_intended_gradients_are_compared_with_the_stated_closed_form() -> None:
    module = Written(lambda m, x: Rounded.apply(m.weight) + x, weight=torch.linspace(0, 9, 6_000).double())
    x, eye = torch.zeros(1).double(), torch.eye(6_000).double()
    every = ("weight", "input")
    certificate = nets.verify(module, x, intended=every)
    assert certificate.passed and {check.against for check in certificate.checks} == {"intention"}
    assert {check.reason for check in certificate.checks} == {Reason.DECLARED}
    assert nets.verify(module, x, intended=every, closed_form=lambda m, x: {"weight": eye}).passed
    assert not nets.verify(module, x, intended=every, closed_form=lambda m, x: {"weight": 2 * eye}).passed


class Clamped(nn.Linear):
    """tanh(X Wᵀ + B), whose incoming gradient is clamped."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(super().forward(x))
        if y.requires_grad:
            y.register_hook(lambda v: v.clamp(-1, 1))
        return y


@pytest.mark.parametrize("size", [4, 80])
def test_an_intended_gradient_need_not_be_linear(size: int) -> None:
    module, x = Clamped(size + 20, size).double(), _randn(6, size + 20).double()
    assert nets.verify(module, x, intended=("weight", "bias", "input")).passed
    assert not nets.verify(module, x, intended=("input",)).passed
