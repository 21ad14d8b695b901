"""Every layer that stands for a class of `torch.nn` equals it to 1e-12: outputs, both gradients, weights both ways."""

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.calculus.layer import Layer
from nets.calculus.mathematics import TORCH
from nets.verification.derivations.engines.reading import portable
from tests.in_matrix import chosen_in_test
from tests.layer_case import seeded
from tests.own_layers import CASES, OWN, SETTINGS

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def made(name: str) -> tuple[nn.Module, Tensor]:
    """A module of torch, and a batch for it."""
    if name in SETTINGS:
        make, shape = SETTINGS[name]
        if isinstance(shape, Tensor):
            return seeded(make), shape
        return seeded(make), torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    case = CASES[name]
    return case.torch(), case.network().trace(case.x)[case.number].detach()


def layer_of(module: nn.Module) -> Layer:
    return nets.Network.from_torch(nn.Sequential(module)).layers[0]


def cotangent(y: Tensor, *more: int) -> Tensor:
    return torch.randn((*more, *y.shape), generator=torch.Generator().manual_seed(8), dtype=y.dtype)


NAMES = [name for name in CASES | SETTINGS if name not in OWN]
EACH = pytest.mark.parametrize("name", NAMES)


@EACH
def test_the_output_and_both_gradients_are_those_of_torch(name: str) -> None:
    module, x = made(name)
    layer, points = layer_of(module), dict(module.named_parameters())
    if x.is_floating_point():  # whole numbers have no gradient
        points["input"] = x.requires_grad_()
    expected = module(x)
    y = layer(x)
    torch.testing.assert_close(y, expected, **EXACT)
    v = cotangent(y)
    gradients = torch.autograd.grad((v * expected).sum(), list(points.values()))
    x, y = x.detach(), y.detach()
    found = layer.gradients(v, x, y)
    if "input" in points:
        found["input"] = layer.pullback(v, x, y)
    for parameter, gradient in zip(points, gradients, strict=True):
        torch.testing.assert_close(found[parameter], gradient, **EXACT)


@EACH
def test_the_other_derivatives_agree_with_the_pullback(name: str) -> None:
    """Further axes in front, ⟨v, J t⟩ = ⟨Jᵀ v, t⟩, the gradients and norms of each sample, and the local Jacobian."""
    module, x = made(name)
    layer, y = layer_of(module), layer_of(module)(x).detach()
    v = cotangent(y, 2)
    if x.is_floating_point():
        t = torch.flip(cotangent(x, 2), (0,))
        pulled = layer.pullback(v, x, y)
        assert pulled.shape == (2, *x.shape)
        torch.testing.assert_close(pulled[1], layer.pullback(v[1], x, y), **EXACT)
        torch.testing.assert_close((v * layer.pushforward(t, x, y)).sum(), (pulled * t).sum(), **EXACT)
        torch.testing.assert_close(layer.local_jacobian(x, y), Layer.local_jacobian(layer, x, y), **EXACT)
    found = layer.gradients(v[0], x, y)
    if found:
        tangents = {name: torch.cos(p.detach()) for name, p in layer.named_parameters()}
        pushed = layer.parameter_pushforward(tangents, x, y)
        total = torch.stack([(found[name] * tangent).sum() for name, tangent in tangents.items()]).sum()
        torch.testing.assert_close((v[0] * pushed).sum(), total, **EXACT)
    each = layer.sample_gradients(v[0], x, y)
    norms = layer.sample_norms(v[0], x, y)
    for parameter, gradients in Layer.sample_gradients(layer, v[0], x, y).items():
        torch.testing.assert_close(each[parameter], gradients, **EXACT)
        torch.testing.assert_close(norms[parameter], gradients.flatten(1).norm(dim=1), rtol=1e-10, atol=1e-12)


@EACH
def test_weights_go_both_ways(name: str) -> None:
    module, x = made(name)
    layer = layer_of(module)
    state = {key: value + 0.5 if value.is_floating_point() else value for key, value in module.state_dict().items()}
    other = made(name)[0]
    assert list(layer.state_dict()) == list(state)
    layer_of(other).load_state_dict(state)  # the layer shares its parameters with `other`
    torch.testing.assert_close(dict(other.state_dict()), dict(state))
    module.load_state_dict(layer_of(other).state_dict())
    torch.testing.assert_close(layer(x), other(x), **EXACT)


@EACH
def test_the_forward_is_the_function_over_any_engine(name: str) -> None:
    module, x = made(name)
    layer = layer_of(module)
    if not portable(layer):
        pytest.skip("the forward is written for PyTorch alone")
    torch.testing.assert_close(
        layer.function(TORCH, x, **dict(layer.named_parameters(remove_duplicate=False))), module(x), **EXACT
    )


SLOW = {"block, norm first", "block, norm last", "transformer of tokens", "transformer with a tied head"}
"""Certificates that take half a minute each, for `make matrix`."""


@pytest.mark.usefixtures("fast_gradcheck")
@pytest.mark.parametrize("name", chosen_in_test(NAMES, lambda name: name not in SLOW))
def test_it_is_verified_alone(name: str) -> None:
    module, x = made(name)
    # A padding row has no gradient by design, although the output changes with it.
    intended = () if getattr(module, "padding_idx", None) is None else ("0.weight",)
    certificate = nets.verify(nets.Network.from_torch(module), x, intended=intended)
    assert certificate.passed, str(certificate)
