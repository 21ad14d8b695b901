"""Layers at the edge of the protocol: whole numbers as input, coupled samples, and forwards that break it."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.calculus.formulas import formulas
from nets.calculus.layers import Linear, ReLU, Tanh

EXACT = {"rtol": 1e-10, "atol": 1e-12}


class Embedding(nets.Layer):
    """Y_nti = W_x(nt),i, of whole numbers x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3).sin())

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[x]

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        raise AssertionError("there is no derivative by whole numbers")

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        zero = torch.zeros_like(self.weight)
        return {"weight": zero.index_put((x.flatten(),), v.reshape(-1, v.shape[-1]), accumulate=True)}


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def of_tokens() -> tuple[nets.Network, Tensor]:
    network = nets.Network([Embedding(), Tanh(), Linear(3, 2, generator=generator())]).double()
    return network, torch.tensor([[0, 3], [3, 3], [4, 1]])


def by_autograd(network: nets.Network, x: Tensor) -> dict[str, Tensor]:
    """∂Y/∂θ by reverse mode of PyTorch, and ∂Y/∂X with the samples of X behind those of Y."""
    network, points = copy.deepcopy(network), dict[str, Tensor]()
    if x.is_floating_point():
        points["input"] = x = x.clone().requires_grad_()
    points = {**dict(network.named_parameters()), **points}
    y = network(x)
    rows = [torch.autograd.grad(one, list(points.values()), retain_graph=True) for one in y.flatten()]
    return {
        name: torch.stack([row[i] for row in rows]).reshape(*y.shape, *point.shape)
        for i, (name, point) in enumerate(points.items())
    }


def descents(network: nets.Network, x: Tensor, **options: object) -> list[list[Tensor]]:
    y = network(x).detach()
    found = []
    for engine in ("closed_form", "autograd"):
        trained = copy.deepcopy(network)
        steps = nets.descend(
            trained, nets.Batch(x, y.cos()), loss=nets.MeanSquaredError(), engine=engine, learning_rate=0.1, steps=3,
            **options,
        )  # fmt: skip
        losses = [torch.tensor(step.loss) for step in steps]
        found.append([*losses, *trained.parameters(), *trained.buffers()])
    return found


def test_whole_numbers_have_jacobians_by_parameters_alone() -> None:
    network, x = of_tokens()
    found = nets.jacobians(network, x)
    assert list(found) == [name for name, _ in network.named_parameters()]
    for name, dense in by_autograd(network, x).items():
        torch.testing.assert_close(found[name].dense(), dense, **EXACT)
    written = formulas(network, x)
    assert "input" not in written
    for name, formula in written.items():
        torch.testing.assert_close(formula.numbers(1), found[name].dense()[1], **EXACT)


@pytest.mark.parametrize("options", [{}, {"sample_norms": True}], ids=["plain", "sample norms"])
def test_a_network_of_whole_numbers_is_trained(options: dict) -> None:
    for one, other in zip(*descents(*of_tokens(), **options), strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def test_a_network_of_whole_numbers_is_explained() -> None:
    network, x = of_tokens()
    found = nets.explain(network, x, "0.weight", (3, 1), sample=1, output=2)
    expected = nets.jacobians(network, x)["0.weight"].entry(1, 1, 0, 3, 1)
    assert expected != 0
    for value in found.derivations.values():
        assert value == pytest.approx(expected, rel=1e-6)
    with pytest.raises(nets.InputError, match=r"no 'input'; expected one of 0\.weight"):
        nets.explain(network, x, "input", (0, 0))


def test_a_network_of_whole_numbers_is_drawn() -> None:
    network, x = of_tokens()
    drawn = nets.picture(network, x, sample=1, output=2).gradients
    network(x)[1].flatten()[2].backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(drawn[name], parameter.grad, **EXACT)


def test_whole_numbers_for_a_layer_of_real_numbers_are_refused() -> None:
    x = torch.ones(4, 3, dtype=torch.int64)
    for first in ([], [ReLU()], [Tanh()]):
        network = nets.Network([*first, Linear(3, 2)]).double()
        for call in (nets.jacobians, nets.verify, formulas):
            with pytest.raises(
                nets.InputError, match=r"X holds .* torch\.int64, .*; expected floating-point .*float64"
            ):
                call(network, x)


def test_a_fault_of_a_layer_of_tokens_is_not_blamed_on_whole_numbers() -> None:
    network, x = of_tokens()
    with pytest.raises(nets.InputError, match=r"layer 0: Embedding\.forward fails with IndexError"):
        nets.jacobians(network, x + 1)


class ChangesShape(nets.Activation):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2]

    def slope(self, z: Tensor, y: Tensor) -> Tensor:
        return torch.ones_like(z)


class TwoOutputs(nets.Layer):
    def forward(self, x: Tensor) -> Tensor:
        return x, x  # type: ignore[return-value]

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v


class WithoutSamples(TwoOutputs):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(0)


class Failing(TwoOutputs):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(7)


@pytest.mark.parametrize(
    ("layer", "fact"),
    [
        (ChangesShape(), r"returned .* shape \(4, 2\); .*\(4, 3\).*elementwise"),
        (TwoOutputs(), "returned a tuple; expected a tensor"),
        (WithoutSamples(), r"returned .* shape \(3,\); .*\(4, …\)"),
        (Failing(), r"fails with RuntimeError .*x of the shape \(4, 3\)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_forward_that_breaks_the_protocol_is_named(layer: nets.Layer, fact: str) -> None:
    network = nets.Network([Linear(3, 3), layer, Linear(3, 2)]).double()
    x = torch.randn(4, 3, generator=generator(), dtype=torch.float64)
    data = nets.Batch(x, x[:, :2])
    for call in (
        lambda: nets.jacobians(network, x),
        lambda: nets.verify(network, x),
        lambda: nets.explain(network, x, "0.bias", 0),
        lambda: formulas(network, x),
        lambda: nets.descend(network, data, loss=nets.MeanSquaredError(), learning_rate=0.1, steps=1),
    ):
        with pytest.raises(nets.InputError, match=rf"layer 1: {type(layer).__name__}\.forward {fact}"):
            call()


class FlatPullback(TwoOutputs):
    def forward(self, x: Tensor) -> Tensor:
        return x.clone()

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v.sum(-1)


def test_a_wrong_shape_from_the_first_layer_is_named() -> None:
    network = nets.Network([FlatPullback(), Linear(3, 2)]).double()
    fact = r"layer 0: FlatPullback\.pullback returned .* shape \((\d), 4\); .*\(\1, 4, 3\)"
    with pytest.raises(nets.InputError, match=fact):
        nets.jacobians(network, torch.ones(4, 3, dtype=torch.float64))["input"].dense()


class Dropout(nets.Layer):
    """Y_ni = M_ni X_ni / (1 − p), with a mask M that each call draws."""

    elementwise = True

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", None)

    def forward(self, x: Tensor) -> Tensor:
        self.mask = 2 * (torch.rand_like(x) > 0.5).to(x)
        return x * self.mask

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * self.mask


class WithoutTheMask(Dropout):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v


@pytest.mark.parametrize(("layer", "verdict"), [(Dropout, "pass"), (WithoutTheMask, "fail")])
def test_all_derivations_draw_the_same_random_numbers(layer: type[nets.Layer], verdict: str) -> None:
    network = nets.Network([Linear(3, 3, generator=generator()), layer(), Linear(3, 2)]).double()
    before = torch.random.get_rng_state()
    x = torch.randn(4, 3, generator=generator(), dtype=torch.float64)
    assert nets.verify(network, x).verdict == verdict
    nets.jacobians(network, x)
    assert torch.equal(torch.random.get_rng_state(), before)


class Unchanged(nets.Layer):
    """Y is X itself, not a copy."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v


@pytest.mark.parametrize("order", [1, 2])
def test_a_layer_may_return_its_input(order: int) -> None:
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3).sin()
    for network in (nets.Network([Linear(3, 2), Unchanged(), Tanh()]), nets.Network([Unchanged(), Linear(3, 2)])):
        certificate = nets.verify(network.double(), x, order=order)
        assert certificate.passed, str(certificate)


class Counting(Unchanged):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * 1


class Deciding(Unchanged):
    def forward(self, x: Tensor) -> Tensor:
        return x * 1 if float(x.sum()) < 100 else x + 0


@pytest.mark.parametrize("layer", [Counting, Deciding])
def test_sample_norms_by_autograd_refuse_a_network_that_vmap_cannot_run(layer: Callable[[], nets.Layer]) -> None:
    data = nets.Batch(torch.ones(4, 3), torch.ones(4, 2))
    settings = {"loss": nets.MeanSquaredError(), "learning_rate": 0.1, "steps": 1, "sample_norms": True}
    descent = nets.descend(nets.Network([Linear(3, 2), layer()]), data, engine="autograd", **settings)  # type: ignore[arg-type]
    with pytest.raises(nets.InputError, match="engine='closed_form'"):
        next(descent)
    assert len(list(nets.descend(nets.Network([Linear(3, 2), layer()]), data, **settings))) == 1  # type: ignore[arg-type]
