"""A method that a layer overrides is held against what follows from its forward, its pullback and its gradients."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.architectures.combinators import Residual
from nets.calculus.architectures.transformer import PreNormBlock
from nets.calculus.layers import LayerNorm, Linear, Softmax, Tanh
from nets.records.reason import Reason
from nets.verification.checks.overrides import HELD, check_overrides
from nets.verification.problem.problem import Problem
from tests.layers.scale import Scale
from tests.layers.swish import Swish
from tests.own_layers import CASES

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

Named = dict[str, Tensor]


class Transposed(Linear):
    """The pullback in place of its transpose."""

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return t @ self.weight


class FastScale(Scale):
    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return t * self.weight


class InheritedPushforward(FastScale):
    """Another forward than that of its parent, with its own pullback and gradients."""

    def function(self, m: Any, x: Any, weight: Any) -> Any:
        return m.exp(x) * weight

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * y

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> Named:
        return {"weight": (v * x.exp()).sum(0)}


class SquaredNorms(Scale):
    def sample_norms(self, v: Tensor, x: Tensor, y: Tensor) -> Named:
        return {"weight": (v * x).square().sum(1)}


class AveragedNorms(Scale):
    """Those of the mean over the batch, of which each sample has a part."""

    def sample_norms(self, v: Tensor, x: Tensor, y: Tensor) -> Named:
        return {"weight": (v * x).norm(dim=1) / len(x)}


class NormsOfPositions(Linear):
    """‖X_n‖ ‖v_n‖, which is right where a sample has one position alone."""

    def sample_norms(self, v: Tensor, x: Tensor, y: Tensor) -> Named:
        norms = {"weight": v.flatten(1).norm(dim=1) * x.flatten(1).norm(dim=1)}
        return super().sample_norms(v, x, y) | norms


class SharedGradients(Scale):
    """The mean in place of each sample's own gradient. Their sum is right."""

    def sample_gradients(self, v: Tensor, x: Tensor, y: Tensor) -> Named:
        return {"weight": (v * x).mean(0).expand(x.shape)}


class LinearInBeta(Swish):
    """The tangent in the place of β."""

    def parameter_pushforward(self, tangents: Named, x: Tensor, y: Tensor) -> Tensor:
        return x * torch.sigmoid(tangents["beta"] * x)


class ForgottenBias(Linear):
    def parameter_pushforward(self, tangents: Named, x: Tensor, y: Tensor) -> Tensor:
        return x @ tangents["weight"].mT


class DiagonalAlone(Softmax):
    def local_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.diag_embed(y * (1 - y))


class TransposedJacobian(Linear):
    def local_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.weight.mT.expand(len(x), -1, -1)


class SlopeOfTheInput(Tanh):
    """1 − X² in place of 1 − Y²."""

    def local_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return 1 - x * x


class SpectralGain(Linear):
    def backward_gain(self, x: Tensor, y: Tensor) -> float:
        return float(torch.linalg.matrix_norm(self.weight, 2))


WRONG: dict[str, tuple[Callable[[], nets.Layer], str, str]] = {
    "pushforward that is the pullback": (lambda: Transposed(4, 4), "pushforward", "input"),
    "inherited pushforward": (lambda: InheritedPushforward(4), "pushforward", "input"),
    "squared norms": (lambda: SquaredNorms(4), "sample_norms", "weight"),
    "norms of the mean": (lambda: AveragedNorms(4), "sample_norms", "weight"),
    "mean in place of each sample": (lambda: SharedGradients(4), "sample_gradients", "weight"),
    "linear in a parameter": (lambda: LinearInBeta(4), "parameter_pushforward", "beta"),
    "forgotten bias": (lambda: ForgottenBias(4, 4), "parameter_pushforward", "bias"),
    "diagonal alone": (DiagonalAlone, "local_jacobian", "input"),
    "transposed Jacobian": (lambda: TransposedJacobian(4, 4), "local_jacobian", "input"),
    "wrong diagonal": (SlopeOfTheInput, "local_jacobian", "input"),
    "gain of another norm": (lambda: SpectralGain(4, 4), "backward_gain", "input"),
}


def failing(network: nets.Network, x: Tensor = X, **options: Any) -> nets.Certificate:
    certificate = nets.verify(network.double(), x, **options)
    assert certificate.verdict == "fail" and certificate.location is not None, str(certificate)
    assert nets.Certificate.from_json(json.dumps(json.loads(certificate.to_json()))) == certificate
    return certificate


@pytest.mark.usefixtures("fast_gradcheck")
@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_override_is_named(fault: str) -> None:
    make, method, by = WRONG[fault]
    certificate = failing(nets.Network([Linear(4, 4), make(), Linear(4, 2)]))
    place = certificate.location
    assert place is not None and (place.module, place.methods, place.by) == ("1", (method,), (by,))
    failed = [check for check in certificate.checks if check.verdict == "fail"]
    assert {check.reason for check in failed} == {Reason.OVERRIDE_DIFFERS}
    assert f"{place.kind}.{method}" in failed[0].message and certificate.decisive in failed
    right = place.kind + (".pullback" if by == "input" else ".gradients")
    assert right in failed[0].message


def test_there_is_a_wrong_version_of_each_method() -> None:
    assert {method for _, method, _ in WRONG.values()} == set(HELD)


@pytest.mark.usefixtures("fast_gradcheck")
@pytest.mark.parametrize(
    ("around", "path"),
    [
        (lambda layer: Residual([Linear(4, 4), layer]), "0.1"),
        (lambda layer: nets.Network([Tanh(), Residual([layer])]), "0.1.0"),
        (lambda layer: PreNormBlock(LayerNorm(4), layer, LayerNorm(4), LayerNorm(4)), "0.mlp"),
    ],
    ids=["in a shortcut", "in a sequence", "in a block"],
)
def test_a_wrong_override_within_another_layer_is_named_by_its_path(
    around: Callable[[nets.Layer], nets.Layer], path: str
) -> None:
    place = failing(nets.Network([around(SquaredNorms(4)), Linear(4, 2)])).location
    assert place is not None and (place.module, place.kind, place.also) == (path, "SquaredNorms", ())


class WrongAround(Residual):
    """The shortcut is forgotten. Its part is right."""

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return super().pushforward(t, x, y) - t


@pytest.mark.usefixtures("fast_gradcheck")
def test_a_wrong_override_of_a_layer_of_layers_is_not_blamed_on_its_parts() -> None:
    place = failing(nets.Network([WrongAround([Tanh()]), Transposed(4, 4)])).location
    assert place is not None and (place.module, place.itself, place.also) == ("0", True, ("1",))


@pytest.mark.usefixtures("fast_gradcheck")
def test_a_wrong_norm_at_several_positions_is_seen() -> None:
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    place = failing(nets.Network([NormsOfPositions(4, 3)]), x).location
    assert place is not None and (place.methods, place.by) == (("sample_norms",), ("weight",))


@pytest.mark.usefixtures("fast_gradcheck")
def test_a_layer_alone_and_a_network_that_is_probed_are_held_to_it() -> None:
    alone = nets.verify(SquaredNorms(4), X)
    assert alone.location is not None and alone.location.methods == ("sample_norms",)
    place = failing(nets.Network([Linear(4, 90), SquaredNorms(90), Linear(90, 60)])).location
    assert place is not None and place.module == "1"


class Mistyped(Scale):
    def sample_norms(self, v: Tensor, x: Tensor, y: Tensor) -> Named:
        return {"weight": (v * x).norm(dim=1, keepdim=True)}


class Failing(Scale):
    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return t * self.wieght  # type: ignore[operator]


class Unknown(Scale):
    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        raise nets.InputError("Unknown has no pushforward; expected reverse mode.")


@pytest.mark.usefixtures("fast_gradcheck")
def test_an_override_that_fails_or_returns_another_shape_is_refused_in_a_sentence() -> None:
    with pytest.raises(nets.InputError, match=r"Mistyped\.sample_norms returned .*\(5, 1\); expected .*\(5,\)"):
        nets.verify(nets.Network([Mistyped(4)]), X)
    with pytest.raises(nets.InputError, match=r"Failing\.pushforward fails with AttributeError"):
        nets.verify(nets.Network([Failing(4)]), X)
    assert check_overrides(Problem(nets.Network([Unknown(4)]), (X,))) == ([], None)


@pytest.mark.parametrize("name", CASES)
def test_overrides_of_right_layers_agree(name: str) -> None:
    case = CASES[name]
    checks, location = check_overrides(Problem(case.network(), (case.x,)))
    assert (checks, location) == ([], None), "; ".join(map(str, checks))


@pytest.mark.parametrize("scale", [1e-6, 1e3, 1e6])
def test_rounding_is_no_difference(scale: float) -> None:
    """Saturated units, gradients that cancel, and numbers that are far from one."""
    layers = [Linear(4, 4), LayerNorm(4), Softmax(), Linear(4, 4), Tanh()]
    network = nets.Network(layers).double()
    with torch.no_grad():
        network.layers[1].weight.mul_(scale)  # type: ignore[operator]
    assert check_overrides(Problem(network, (scale * X,))) == ([], None)
