"""The closed form as a `torch.autograd.Function`: at first and second order, in forward mode, and under vmap."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.gradcheck import GradcheckError
from torch.func import jacfwd, jacrev

from nets.calculus.function import closed_form
from tests.cases import NETWORKS, Case

EACH = pytest.mark.parametrize("case", NETWORKS, ids=str)


def _points(case: Case) -> tuple[torch.Tensor, ...]:
    tensors = [case.x, *case.network.parameters()]
    return tuple(tensor.detach().clone().requires_grad_() for tensor in tensors)


def _function(case: Case, x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
    names = [name for name, _ in case.network.named_parameters()]
    return closed_form(case.network, x, dict(zip(names, parameters, strict=True)))


@EACH
def test_the_value_equals_that_of_the_network(case: Case) -> None:
    torch.testing.assert_close(_function(case, *_points(case)), case.network(case.x), rtol=0, atol=0)


@EACH
def test_gradcheck_and_gradgradcheck_pass(case: Case) -> None:
    points = _points(case)
    assert gradcheck(lambda *p: _function(case, *p), points, check_forward_ad=True, check_batched_grad=True)
    with torch.random.fork_rng():
        assert gradgradcheck(lambda *p: _function(case, *p), points)


@EACH
def test_forward_mode_and_reverse_mode_agree(case: Case) -> None:
    points = tuple(point.detach() for point in _points(case))
    for which in range(len(points)):
        forward = jacfwd(lambda *p: _function(case, *p), argnums=which)(*points)
        reverse = jacrev(lambda *p: _function(case, *p), argnums=which)(*points)
        torch.testing.assert_close(forward, reverse, rtol=1e-12, atol=1e-14)


def test_gradcheck_finds_a_wrong_slope(monkeypatch: pytest.MonkeyPatch) -> None:
    from nets.calculus.layers import Tanh

    monkeypatch.setattr(Tanh, "slope", lambda self, z, y: 1 + y * y)
    case = next(case for case in NETWORKS if case.name == "tanh of linear")
    with pytest.raises(GradcheckError):
        gradcheck(lambda *p: _function(case, *p), _points(case))
