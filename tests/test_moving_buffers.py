"""A layer that changes a buffer which its next forward pass reads must name it, and keep it after `hold`."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import nets
from nets.calculus.architectures.combinators import Residual
from nets.calculus.layers import Linear, Tanh

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Centred(nets.Layer):
    """Y = X − M, with M a running mean that moves towards the mean of the batch after it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        y = x - self.mean
        if self.training:
            self.mean.lerp_(x.detach().mean(0), 0.1)
        return y

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v


class MovedFirst(Centred):
    """The mean moves before it is used, to another tensor."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = torch.lerp(self.mean, x.detach().mean(0), 0.1)
        return x - self.mean


class Noisy(Centred):
    """It draws a number from the global generator as well."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.rand((), dtype=x.dtype)


class NeverHeld(Centred):
    """It names its buffer and changes it after `hold`."""

    def moving(self) -> tuple[str, ...]:
        return ("mean",) if self.training else ()


class Held(Centred):
    """As the protocol asks."""

    held = False

    def hold(self) -> None:
        self.held = True

    def moving(self) -> tuple[str, ...]:
        return ("mean",) if self.training and not self.held else ()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.moving() or not self.training else x - self.mean


class Counting(Centred):
    """The buffer is changed, and no output depends on it."""

    def forward(self, x: Tensor) -> Tensor:
        self.mean += 1
        return x * 1


def network(layer: nets.Layer) -> nets.Network:
    generator = torch.Generator().manual_seed(1)
    return nets.Network([Linear(3, 3, generator=generator), layer, Linear(3, 2, generator=generator)]).double()


def loss_of(of: nets.Network) -> list[float]:
    data = nets.Batch(X, torch.ones(4, 2, dtype=torch.float64))
    steps = nets.descend(of, data, loss=nets.MeanSquaredError(), learning_rate=0.1, steps=2)
    return [step.loss for step in steps]


USES: dict[str, Callable[[nets.Network], Any]] = {
    "verify": lambda of: nets.verify(of, X),
    "verify, order 2": lambda of: nets.verify(of, X, order=2),
    "jacobians": lambda of: nets.jacobians(of, X),
    "explain": lambda of: nets.explain(of, X, "0.weight", (0, 0)),
    "descend": loss_of,
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("layer", [Centred, MovedFirst, Noisy])
def test_a_buffer_that_is_changed_and_read_is_named_with_the_remedy(layer: type[nets.Layer], use: str) -> None:
    of = network(layer())
    mean = of.layers[1].mean
    with pytest.raises(nets.InputError, match=rf"layer 1: {layer.__name__}\.forward .*buffer mean.*moving.*hold"):
        USES[use](of)
    assert of.layers[1].mean is mean or use != "verify"


def test_a_layer_within_a_layer_is_named() -> None:
    for of in (Residual([Tanh(), Centred()]), nets.Network([Residual([Centred()]), Tanh()])):
        with pytest.raises(nets.InputError, match=r"layer 1: Centred\.forward .*buffer mean"):
            nets.verify(network(of), X)


def test_a_buffer_that_moves_after_hold_is_refused_where_forward_passes_are_repeated() -> None:
    with pytest.raises(nets.InputError, match=r"layer 1: NeverHeld\.forward .*buffer mean.*hold"):
        nets.verify(network(NeverHeld()), X)


@pytest.mark.usefixtures("fast_gradcheck")
@pytest.mark.parametrize("layer", [Held, Counting, lambda: Centred().eval()], ids=["held", "counting", "evaluation"])
def test_a_buffer_that_is_held_or_not_read_does_no_harm(layer: Callable[[], nets.Layer]) -> None:
    of = network(layer())
    mean = of.layers[1].mean.clone()
    assert nets.verify(of, X).passed
    nets.jacobians(of, X)
    assert torch.equal(of.layers[1].mean, mean)
    assert len(loss_of(of)) == 2
    moved = not torch.equal(of.layers[1].mean, mean)
    assert moved == of.layers[1].training
