"""Modules that can be verified though a part of what verifies them cannot follow; and what is reported where nothing
can be."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from tests.building import Written

X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """∂u/∂x + u, by a derivative with respect to the input."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        u: Tensor = self.net(x)
        return torch.autograd.grad(u.sum(), x, create_graph=True)[0] + u


class OnlySingle(torch.autograd.Function):
    """sin, in float32 alone, with a slope that is `factor` times the right one."""

    factor = 1.0

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        if x.dtype != torch.float32:
            raise TypeError("float32 only")
        ctx.factor = factor
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g * ctx.saved_tensors[0].cos() * ctx.factor, None


@pytest.mark.filterwarnings("ignore")
def test_control_flow_of_torch_passes() -> None:
    module = Written(lambda m, x: torch.cond(x.sum() > 0, lambda x: x.sin(), lambda x: x.cos(), (x,)))
    assert nets.verify(module, X[0]).passed


def test_a_residual_that_differentiates_by_its_input_passes() -> None:
    assert nets.verify(Residual(), torch.tensor([[0.3], [-0.8]], requires_grad=True)).passed


def test_a_kernel_of_one_precision_is_verified_in_this_precision() -> None:
    right, wrong = (Written(lambda m, x, factor=factor: OnlySingle.apply(x, factor)) for factor in (1.0, 1.01))
    assert nets.verify(right, X[0], dtype="as is").passed
    assert nets.verify(wrong, X[0], dtype="as is").verdict == "fail"
    with pytest.raises(
        nets.InputError, match=r"though it can in its own precision: TypeError: float32 only.*dtype='as is'"
    ):
        nets.verify(right, X[0])


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ((X[:, :2],), r"mat1 and mat2 shapes cannot be multiplied.*the shapes \(2, 2\)"),
        ((), "was given 0 inputs .missing a required argument: 'input'."),
        ((X, X), "was given 2 inputs .too many positional arguments."),
    ],
    ids=["shape", "too few", "too many"],
)
def test_a_call_with_wrong_arguments_is_reported_as_such(inputs: tuple[Tensor, ...], sentence: str) -> None:
    with pytest.raises(nets.InputError, match=sentence) as told:
        nets.verify(nn.Linear(3, 2), *inputs)
    assert "float64" not in str(told.value)


@pytest.mark.parametrize(
    ("function", "inputs", "edge"),
    [
        (lambda m, x, y: x**y, (torch.zeros(2), torch.zeros(2)), "edge of the domain: Y[0] is inf"),
        (
            lambda m, x: x.acos(),
            (torch.tensor([1 - 1e-13, 0.2], dtype=torch.float64),),
            "nan where input[0] is 1.0000000001 instead of 0.9999999999999",
        ),
    ],
    ids=["0**0", "arccosine"],
)
def test_the_edge_of_the_domain_is_named(
    function: Callable[..., Tensor], inputs: tuple[Tensor, ...], edge: str
) -> None:
    certificate = nets.verify(Written(function), *inputs)
    assert certificate.verdict == "inconclusive" and edge in certificate.sentence()


@pytest.mark.parametrize("exponent", [1023.9, 1023.0, -1021.0])
def test_a_gradient_at_the_end_of_the_range_is_not_stateful(exponent: float) -> None:
    """Twice that of 2^1023.9 is infinite."""
    assert "stateful" not in nets.verify(Written(lambda m, x: x.exp2()), torch.tensor([exponent]).double()).sentence()


def test_parts_that_the_copy_lacks_are_named_and_do_not_pass() -> None:
    compiled, hooked = nn.Linear(3, 2), nn.Linear(3, 2)
    compiled.compile(backend="eager")
    hooked.register_forward_hook(lambda layer, inputs, output: output * hooked.weight.sum())
    for module, words in (
        (compiled, "the compiled form of the module"),
        (hooked, "a hook of the module refers to"),
    ):
        certificate = nets.verify(module, X)
        assert certificate.verdict == "inconclusive" and words in certificate.sentence()
