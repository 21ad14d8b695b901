"""Whether a second forward pass gives what the first one gave: a buffer that the first one changes must not be read, or
must be one that the layer names as moving."""

import copy
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from nets.calculus.layer import Layer
from nets.errors import InputError
from nets.torch_internals import own_buffers

BufferPath = tuple[str, str]
"""The dotted name of a part of a layer, '' for the layer itself, and the name of a buffer of that part."""

BuffersOf = Callable[[Layer], Collection[str]]
"""The names of the own buffers that a layer may change."""


def moving(layer: Layer) -> Collection[str]:
    """Those that `Layer.moving` names: the layer says that its forward pass changes them."""
    return layer.moving()


def nothing(layer: Layer) -> Collection[str]:
    """No buffer at all, as after `Layer.hold`."""
    return ()


def repeatable_forward(layer: Layer, x: Tensor, may_change: BuffersOf) -> Tensor:
    """The result of `checked_forward`.

    A buffer that is changed and not read, such as a count of the calls or a mask that is kept for the pullback, does no
    harm.

    Raises:
        InputError: also for a forward pass that changes a buffer which the next forward pass reads, unless
            `may_change` names it.
    """
    before = {place: buffer.clone() for place, buffer in _fixed(layer, may_change).items()}
    random = torch.get_rng_state()
    y = layer.checked_forward(x)
    after = {place: buffer for place, buffer in _fixed(layer, nothing).items() if place in before}
    for place, buffer in after.items():
        kept = before[place]
        if buffer.shape == kept.shape and not torch.equal(buffer, kept) and _reads(layer, x, random, before, place):
            path, name = place
            part = layer.get_submodule(path)
            raise InputError(
                f"{type(part).__name__}.forward changes its buffer {name}, which its next call reads; expected a "
                f"layer that names it: define moving, which returns ('{name}',) while a forward pass changes it, and "
                "hold, after which no forward pass changes it (see nets.Layer)."
            )
    return y


def _reads(layer: Layer, x: Tensor, random: Tensor, before: dict[BufferPath, Tensor], place: BufferPath) -> bool:
    """Whether the output depends on whether a buffer has been changed, all else being as before the forward pass.

    False where the output is another one each time, for a reason that is not among the buffers.
    """
    path, name = place
    changed = own_buffers(layer.get_submodule(path))[name]
    assert changed is not None
    first, again, moved = (_called(layer, x, random, state) for state in (before, before, {**before, place: changed}))
    return torch.equal(first, again) and not torch.equal(first, moved)


def _called(layer: Layer, x: Tensor, random: Tensor, state: dict[BufferPath, Tensor]) -> Tensor:
    """The output of a copy of the layer with these buffers."""
    twin = copy.deepcopy(layer)
    for (path, name), buffer in state.items():
        own_buffers(twin.get_submodule(path))[name] = buffer.clone()
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(random)
        y: Tensor = twin(x)
    return y


def _fixed(layer: Layer, may_change: BuffersOf) -> dict[BufferPath, Tensor]:
    """The buffers of a layer, and of the layers in it, but for those that may change."""
    return {
        (path, name): buffer
        for path, part in layer.named_modules()
        if isinstance(part, Layer)
        for name, buffer in own_buffers(part).items()
        if buffer is not None and name not in may_change(part)
    }
