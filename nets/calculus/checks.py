"""Whether layers keep to the protocol: what their forward returns, and whether a sample depends on another.

A forward is checked where Jacobians are computed and before a descent, not at each step.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nets.calculus.layer import Layer
from nets.calculus.network import Network
from nets.errors import InputError
from nets.text import one_line

FAILURES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, NotImplementedError)
"""What a forward raises for an input that it does not take."""


@contextmanager
def unchanged(network: Network) -> Iterator[None]:
    """Put back the buffers and the random state afterwards: a forward may count, average or draw."""
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            for buffer, value in kept:
                buffer.copy_(value)


def checked_trace(network: Network, x: Tensor) -> list[Tensor]:
    """[X, output of layer 0, …, Y], as `Network.trace` returns them.

    Raises:
        InputError: for a layer whose forward fails, or returns something else than floating-point numbers of shape
            (N, *S), or of the shape of its input where it is elementwise.
    """
    values = [x]
    for index, layer in enumerate(network.layers):
        values.append(_output(f"layer {index}, a {type(layer).__name__}", layer, values[-1]))
    return values


def _output(who: str, layer: Layer, x: Tensor) -> Tensor:
    given = f"an input of shape {tuple(x.shape)} and type {x.dtype}"
    try:
        y = layer(x)
    except InputError:
        raise
    except FAILURES as error:
        raise InputError(
            f"the forward of {who}, fails on {given} with {type(error).__name__}: {one_line(error)}; expected a "
            "forward (N, *S) → (N, *S'): correct it, or the layer before it."
        ) from error
    if not isinstance(y, Tensor) or not y.is_floating_point():
        found = f"a tensor of {y.dtype}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
        raise InputError(f"the forward of {who}, returned {found}; expected one tensor of floating-point numbers.")
    if y.ndim < 2 or len(y) != len(x):
        raise InputError(
            f"the forward of {who}, returned the shape {tuple(y.shape)} for {given}; expected the {len(x)} samples "
            "along the first axis, and one axis more at least."
        )
    if layer.elementwise and y.shape != x.shape:
        raise InputError(
            f"the forward of {who}, returned the shape {tuple(y.shape)} for {given}; expected the shape of its input, "
            "since the layer is elementwise: derive it from nets.Layer instead."
        )
    return y


def expect_separate_samples(network: Network, x: Tensor, who: str) -> None:
    """InputError where the outputs for one sample depend on other samples.

    Args:
        network: layers in sequence.
        x: X.
        who: what needs separate samples, such as 'explain'.
    """
    with unchanged(network):
        found = coupling_layers(network, checked_trace(network, x))
    for index in found:
        raise InputError(
            f"layer {index}, a {type(network.layers[index]).__name__}, makes the outputs for one sample depend on the "
            f"other samples; {who} expected samples that do not: call network.eval() if it then uses fixed statistics."
        )


@torch.no_grad()
def coupling_layers(network: Network, values: list[Tensor]) -> list[int]:
    """The numbers of the layers whose outputs for one sample depend on other samples, such as batch normalizations.

    The pullback of a cotangent that is zero for all samples but the first is zero for these samples elsewhere.

    Args:
        network: layers in sequence.
        values: [X, output of layer 0, …, Y].
    """
    return [i for i, layer in enumerate(network.layers) if _couples(layer, *values[i : i + 2])]


def _couples(layer: Layer, x: Tensor, y: Tensor) -> bool:
    if layer.elementwise or len(x) == 1 or not x.is_floating_point():
        return False
    v = torch.zeros_like(y)
    v[0] = torch.arange(1, y[0].numel() + 1, dtype=y.dtype, device=y.device).sqrt().reshape(y[0].shape)
    pulled = layer.pullback(v, x, y)
    return isinstance(pulled, Tensor) and pulled.shape == x.shape and bool(pulled[1:].any())
