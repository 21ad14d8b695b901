"""Layers in sequence."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from nets import validation
from nets.calculus.composite import Composite, Parts, Visit
from nets.calculus.layer import Layer
from nets.calculus.layers.activations import ACTIVATIONS, Activation, Identity
from nets.calculus.layers.conversion import converted, register
from nets.calculus.layers.linear import Linear
from nets.calculus.mathematics import Mathematics
from nets.calculus.parameters import within
from nets.calculus.repetition import repeating
from nets.errors import InputError, quoted
from nets.torch_internals import own_modules

WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
"""Types of whole numbers, such as tokens."""

MOST_CHAINED = 100
"""The most activations in a row that `mlp` accepts. The formula of twenty is already too long to read."""


LayerPullback = Callable[[Layer, Tensor, Tensor, Tensor], Tensor]
"""(layer, v, x, y) → the cotangent of the layer's input."""


def _pullback(layer: Layer, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return layer.pullback(v, x, y)


class Network(nn.Sequential, Composite):
    """Y = (f_L ∘ … ∘ f_1)(X): layers that know their own derivatives, in sequence.

    Shapes: X (N, *S) → Y (N, *S'), in most networks (N, J) → (N, K). Parameters have the names of `torch.nn.Sequential`
    ('0.weight', '0.bias'), so state dicts load into and from the same sequence of `torch.nn` modules.

    A network is a layer itself, and may be a part of another network or of a layer of your own.

    Args:
        layers: in order; in a dictionary they have its names instead of numbers, as in 'head.weight'.

    Raises:
        InputError: for a part that is no layer.
    """

    def __init__(self, layers: Parts) -> None:
        Composite.__init__(self, layers)

    @classmethod
    def from_torch(cls, module: nn.Module, *, seed: int = 0) -> "Network":
        """The same network as `module`, with the very same parameters.

        Args:
            module: a `torch.nn.Sequential` of modules that are registered (see `nets.register`) and of layers, whose
                names stay as they are; or one of these, which becomes layer 0 where its layer is no Network. Known are
                most layers of `torch.nn`, its `TransformerEncoder`, VGG, AlexNet and ResNet of torchvision, and
                `GPT2LMHeadModel` of transformers. Of a transformer in evaluation mode dropout is left out.
            seed: of the random numbers that the layers made here draw, such as the masks of Dropout. Each layer has its
                own; layers that were in the module already keep theirs.

        Raises:
            InputError: for a module that has no layer, with its path, such as 'encoder.layers.0.attn'; or for a seed
                out of range.
        """
        generator, layer = validation.seeded(seed), converted("", module)
        given = set(module.modules())
        for part in layer.modules():
            if isinstance(part, Layer) and part not in given:
                part.reseed(generator)
        return layer if type(layer) is cls else cls([layer])

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, first to last."""
        return cast("tuple[Layer, ...]", tuple(self))

    def steps(self) -> Iterator[tuple[str, Layer]]:
        """The layers in order; of a part that is a sequence itself, its own layers."""
        for name, part in self.parts.items():
            for own, layer in part.steps():
                yield f"{name}.{own}" if own else name, layer

    def trace(self, x: Tensor) -> list[Tensor]:
        """[X, output of layer 0, …, Y]: the values of the forward pass that the chain rule uses."""
        values = [x]
        for layer in self.layers:
            values.append(layer(values[-1]))
        return values

    def pulled_back(
        self, v: Tensor, values: list[Tensor], pullback: LayerPullback = _pullback
    ) -> Iterator[tuple[int, Tensor]]:
        """The number of each layer, last to first, and the cotangent of its output Z: v = ∂ℓ/∂Y for the last layer,
        then v_nj ← Σ_i v_ni ∂Z_ni/∂X_nj from each layer to the one before it.

        Args:
            v: ∂ℓ/∂Y_nk. It may have further axes in front, which stay.
            values: [X, output of layer 0, …, Y], as `trace` returns them.
            pullback: (layer, v, x, y) → the pullback of the layer.
        """
        for index in reversed(range(len(self))):
            yield index, v
            if index:  # a caller that needs ∂ℓ/∂X pulls back through the first layer itself
                v = pullback(self.layers[index], v, values[index], values[index + 1])

    def parameter_names(self) -> tuple[dict[str, str], ...]:
        """For each layer: the name of a parameter in the layer → its name in the network."""
        return tuple(self.names_by_part().values())

    def function(self, m: Mathematics, x: Any, *args: Any, **parameters: Any) -> Any:
        """The forward over the functions m of any engine."""
        for name, layer in self.parts.items():
            x = layer.function(m, x, **within(name, parameters))
        return x

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_ni → Σ_i v_ni ∂Y_ni/∂X_nj, through each layer."""
        return self.pullback_along(v, self._traced_again(x, y))

    def pullback_along(self, v: Tensor, values: list[Tensor]) -> Tensor:
        """The pullback at the values of a forward pass, [X, output of layer 0, …, Y], as `trace` returns them."""
        if not self.layers:
            return v
        for _, own in self.pulled_back(v, values):
            first = own
        return self.layers[0].pullback(first, *values[:2])

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_nj → Σ_j ∂Y_ni/∂X_nj t_nj, through each layer."""
        return self.pushforward_along(t, self._traced_again(x, y))

    def pushforward_along(self, t: Tensor, values: list[Tensor]) -> Tensor:
        """The pushforward at the values of a forward pass."""
        for layer, before, after in zip(self.layers, values[:-1], values[1:], strict=True):
            t = layer.pushforward(t, before, after)
        return t

    def visits(self, v: Tensor, x: Tensor, y: Tensor) -> Iterator[Visit]:
        """Each layer with the cotangent of its output, the last first."""
        return self.visits_along(v, self._traced_again(x, y))

    def gradients_along(self, v: Tensor, values: list[Tensor]) -> dict[str, Tensor]:
        """The gradients at the values of a forward pass."""
        return self._summed(Layer.checked_gradients, self.visits_along(v, values))

    def visits_along(self, v: Tensor, values: list[Tensor], pullback: LayerPullback = _pullback) -> Iterator[Visit]:
        """The visits at the values of a forward pass, see `pulled_back`."""
        names = list(self.parts)
        for index, own in self.pulled_back(v, values, pullback):
            yield Visit(names[index], self.layers[index], own, values[index], values[index + 1])

    def _traced_again(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """The values of the forward pass that made Y."""
        with repeating(self, y):
            return self.trace(x)

    def check(self, x: Tensor) -> None:
        """Raise InputError unless X is a dense batch (N, *S), N ≥ 1, on the network's device, in its precision or of
        whole numbers."""
        if not isinstance(x, Tensor):
            raise InputError(f"X is {quoted(x)}; expected a tensor of shape (samples, features).")
        if x.layout is not torch.strided or not (x.is_floating_point() or x.dtype in WHOLE):
            raise InputError(
                f"X is a tensor of {x.dtype} with the layout {x.layout}; expected a dense tensor of real "
                "floating-point numbers, or of whole numbers such as tokens: pass X.to_dense(), or X.to(torch.float64)."
            )
        if x.ndim < 2 or len(x) == 0:
            raise InputError(
                f"X has the shape {tuple(x.shape)}; expected (samples, features) with at least one sample, or more "
                "axes for layers that take them: for a single sample use x[None], for samples of one number x[:, None]."
            )
        dtypes = {parameter.dtype for parameter in self.parameters()} or {x.dtype}
        if x.is_floating_point() and dtypes != {x.dtype}:
            raise InputError(
                f"X is {x.dtype} and the network {', '.join(map(str, dtypes))}; expected the same precision for both: "
                "convert one, for example with network.to(x.dtype)."
            )
        devices = {parameter.device for parameter in self.parameters()} or {x.device}
        if devices != {x.device}:
            raise InputError(
                f"X is on {x.device} and the network on {', '.join(map(str, devices))}; expected the same device for "
                "both: move one, for example with network.to(x.device)."
            )


def mlp(
    sizes: Sequence[int],
    activation: str = "tanh",
    output: str = "tanh",
    *,
    gain: float = 1.0,
    generator: torch.Generator | None = None,
) -> Network:
    """A multi-layer perceptron: X → Linear → activation → … → Linear → output.

    Args:
        sizes: (J, hidden…, K): the width of the data, of each hidden layer, and of the output.
        activation: of the hidden layers: one of `nets.calculus.layers.ACTIVATIONS`, such as tanh, relu or gelu, or the
            name of an activation of your own (see `nets.Activation`).
        output: of the last layer, from the same list; 'identity' adds no layer. '+' chains several, as in 'tanh+tanh'.
        gain: scale of the initial weights, see `Linear`; 1 keeps the variance of signal and gradient (Glorot, Bengio
            2010).
        generator: of the initial weights; one with the seed 0 if not given.

    Raises:
        InputError: for fewer than two sizes, a size below one or beyond 64 bits, an unknown activation, more than 100
            of them in `output`, a gain that is negative, not finite or so large that the weights overflow, or weights
            larger than the free memory.
    """
    several = isinstance(sizes, Sequence) and not isinstance(sizes, str | bytes)
    whole = several and all(type(size) is int and 0 < size <= validation.LARGEST_WHOLE for size in sizes)
    if not whole or len(sizes) < 2:
        raise InputError(
            f"sizes is {quoted(sizes)}; expected two or more whole numbers from 1 up, of 64 bits at most, the width of "
            "the data first and that of the output last, such as [64, 10]."
        )
    hidden, last = _activation(activation), _chain(output)
    generator = validation.generator(generator)
    layers: list[Layer] = []
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers.append(Linear(inputs, outputs, gain=gain, generator=generator))
        kinds = last if index == len(sizes) - 2 else [hidden]
        layers.extend(kind() for kind in kinds if kind is not Identity)
    return Network(layers)


def _chain(output: object) -> list[type[Activation]]:
    """The activations of 'tanh+tanh'."""
    names = output.split("+") if isinstance(output, str) else [output]
    if len(names) > MOST_CHAINED:
        raise InputError(
            f"output chains {len(names):,} activations; expected at most {MOST_CHAINED}: leave some out, or make a "
            "nets.Network of the layers."
        )
    return [_activation(name) for name in names]


def _activation(name: object) -> type[Activation]:
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise InputError(f"the activation is {quoted(name)}; expected one of {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]


def _sequence(module: nn.Sequential) -> Network:
    """A child whose name is that of an attribute of a Network, such as 'layers', has an underscore behind it."""
    named = own_modules(module).items()
    return Network({name + "_" * hasattr(Network, name): converted(name, child) for name, child in named if child})


register(nn.Sequential, _sequence)
