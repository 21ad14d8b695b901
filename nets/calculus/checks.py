"""Whether layers keep to the protocol: what their forward returns, and whether a sample depends on another.

A forward is checked where Jacobians are computed and before a descent, not at each step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor

from nets.calculus.composite import Visit
from nets.calculus.layer import Layer
from nets.calculus.network import Network
from nets.calculus.repeated_call import BuffersOf, moving, repeatable_forward
from nets.errors import InputError

FEW_SAMPLES = 64
"""Up to so many samples, the search for samples that depend on one another sees each pair of them. Beyond, it sees a
dependence of one pair alone with probability 1/2, and one of many pairs almost surely."""


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


def checked_trace(network: Network, x: Tensor, may_change: BuffersOf = moving) -> list[Tensor]:
    """[X, output of layer 0, …, Y], as `Network.trace` returns them.

    Args:
        network: layers in sequence.
        x: X.
        may_change: the names of the buffers that a layer may change.

    Raises:
        InputError: for a layer whose forward fails, writes into its input, returns something else than
            floating-point numbers of shape (N, *S), or of the shape of its input where it is elementwise, or changes a
            buffer that its next call reads, unless the layer may change it; and for whole numbers where the same
            numbers in floating point would do.
    """
    values = [x]
    for name, layer in network.parts.items():
        try:
            with naming(name, _cast_before(network, values)):
                values.append(repeatable_forward(layer, values[-1], may_change))
        except InputError as error:
            refused = _whole_numbers_refused(network, x, layer, may_change)
            if refused is None:
                raise
            raise refused from error
    return values


def _whole_numbers_refused(network: Network, x: Tensor, layer: Layer, may_change: BuffersOf) -> InputError | None:
    """The error for X of whole numbers that fail in a layer; None where the network fails in floating point too."""
    if x.is_floating_point():
        return None
    precision = next((parameter.dtype for parameter in network.parameters()), torch.get_default_dtype())
    try:
        checked_trace(network, x.to(precision), may_change)
    except InputError:
        return None
    return InputError(
        f"X holds whole numbers, of {x.dtype}, which {type(layer).__name__}.forward does not take; expected "
        f"floating-point numbers: pass X.to({precision})."
    )


def checked_visits(network: Network, v: Tensor, values: list[Tensor]) -> Iterator[Visit]:
    """Each layer with the cotangent of its output, the last first, as `Network.visits_along` yields them.

    Raises:
        InputError: for a layer whose pullback fails, writes into its arguments, or returns another shape.
    """
    names = {layer: name for name, layer in network.parts.items()}

    def pullback(layer: Layer, *at: Tensor) -> Tensor:
        with naming(names[layer]):
            return layer.checked_pullback(*at)

    return network.visits_along(v, values, pullback)


@contextmanager
def naming(layer: str, cause: str = "") -> Iterator[None]:
    """Within this context an InputError begins with the name of the layer."""
    try:
        yield
    except InputError as error:
        raise InputError(f"layer {layer}: {cause}{error}") from error


def _cast_before(network: Network, values: list[Tensor]) -> str:
    """The first layer that returned another precision than it was given, in words; '' if there is none."""
    for layer, (before, after) in zip(network.layers, pairwise(values), strict=False):
        if before.is_floating_point() and before.dtype != after.dtype:
            return f"after {type(layer).__name__}.forward turned {before.dtype} into {after.dtype}, "
    return ""


def expect_separate_samples(network: Network, x: Tensor, who: str) -> None:
    """InputError where the outputs for one sample depend on other samples, by the forward pass or by the pullback.

    Args:
        network: layers in sequence.
        x: X.
        who: what needs separate samples, such as 'explain'.
    """
    with unchanged(network):
        values = checked_trace(network, x)
        found = set(coupling_layers(network, values))
        for (name, layer), (before, after) in zip(network.parts.items(), pairwise(values), strict=True):
            if name not in found and forward_couples(layer, before, after):
                found.add(name)
    for name in (name for name in network.parts if name in found):
        raise InputError(
            f"layer {name}, a {type(network.parts[name]).__name__}, makes the outputs for one sample depend on the "
            f"other samples; {who} expected samples that do not: call network.eval() if it then uses fixed statistics."
        )


@torch.no_grad()
def coupling_layers(network: Network, values: list[Tensor]) -> list[str]:
    """The names of the layers whose outputs for one sample depend on other samples, such as batch normalizations.

    Args:
        network: layers in sequence.
        values: [X, output of layer 0, …, Y].

    Raises:
        InputError: for a layer whose pullback fails, writes into its arguments, or returns another shape.
    """
    found = []
    for (name, layer), (x, y) in zip(network.parts.items(), pairwise(values), strict=True):
        with naming(name):
            if couples(layer, x, y):
                found.append(name)
    return found


def couples(layer: Layer, x: Tensor, y: Tensor) -> bool:
    """Whether the pullback of a cotangent that is zero outside of a group of samples is not zero there."""
    if layer.elementwise or len(x) == 1 or not x.is_floating_point():
        return False
    groups, v = grouped_cotangents(y)
    return bool(layer.checked_pullback(v, x, y)[~groups].any())


def forward_couples(layer: Layer, x: Tensor, y: Tensor) -> bool:
    """Whether the outputs for other samples change where each sample of a group is replaced by the one before it.

    False where the layer draws random numbers, so that a second forward pass gives another output at the same point.
    """
    if len(x) == 1 or not torch.equal(layer(x), y):
        return False
    groups, _ = grouped_cotangents(y)
    allowed = torch.finfo(y.dtype).eps ** 0.5 * float(y.abs().max())
    for group in groups:
        moved = torch.where(group.reshape(-1, *(1 for _ in x.shape[1:])), x.roll(1, 0), x)
        if ((layer(moved) - y)[~group].abs() > allowed).any():
            return True
    return False


def grouped_cotangents(y: Tensor) -> tuple[Tensor, Tensor]:
    """Groups of samples, shape (R, N), and for each group a cotangent of Y that is zero outside of it, (R, N, *S').

    For any two samples n and m, some group has n without m: the groups are the samples whose number has a 1 in one of
    its binary digits, and those that have a 0. Beyond FEW_SAMPLES there are two groups, a random half and the rest.
    """
    generator = torch.Generator().manual_seed(0)
    numbers = torch.arange(len(y)) if len(y) <= FEW_SAMPLES else torch.randperm(len(y), generator=generator) % 2
    digits = int(numbers.max()).bit_length()
    ones = (numbers >> torch.arange(digits)[:, None]) % 2 == 1
    groups = torch.cat([ones, ~ones]).to(y.device)
    v = (torch.rand(y.shape, generator=generator) + 0.5).to(y)
    return groups, v * groups.reshape(*groups.shape, *(1 for _ in y.shape[1:]))
