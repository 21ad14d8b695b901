"""Forward passes that the backward pass repeats: they draw the random numbers that they drew, and move no statistic.

A layer made of layers computes the values between its parts again for its pullback. What a forward pass reads and
changes besides X is in the buffers that `Layer.moving` names, such as the number of the next mask, and in the layer's
random generators. Their numbers before each forward pass are kept, under the address of the output Y in memory. No two
outputs that are in use have the same address, and the first samples of Y have the address of Y.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

from nets.calculus.layer import Layer
from nets.errors import InputError
from nets.torch_internals import address, own_buffers, own_modules

MOST_KEPT = 4_096
"""The most forward passes whose state is kept. The oldest is given up first."""

StatePlace = tuple[int, str]
"""The identity of a module's table of buffers, and a name in it. Layers with other parameters share the table. Or the
identity of a random generator, and its name."""

_KEPT: OrderedDict[tuple[int | None, tuple[StatePlace, ...]], dict[StatePlace, Tensor]] = OrderedDict()
"""What was kept, for all layers of the process. It is no attribute of a layer: a layer with other parameters, see
`Layer.at`, is another object, which repeats the same forward passes; and an attribute that changes at each call would
be state of the module for a recording and for `verify`. The places in the key keep the layers apart."""


def state_before(layer: Layer) -> dict[StatePlace, Tensor]:
    """A copy of all that a forward pass of a layer, or of its parts, now changes: moving buffers and generators."""
    buffers, generators = _moving(layer)
    if not buffers and not generators:
        return {}
    return _copied({place: buffer for place, (_, buffer) in buffers.items()}) | _states(generators)


def _copied(buffers: dict[StatePlace, Tensor]) -> dict[StatePlace, Tensor]:
    """The same numbers in other memory. A buffer that has several places is still one."""
    copies = {id(buffer): buffer.detach().clone() for buffer in buffers.values()}
    return {place: copies[id(buffer)] for place, buffer in buffers.items()}


def _states(generators: dict[StatePlace, torch.Generator]) -> dict[StatePlace, Tensor]:
    return {place: generator.get_state() for place, generator in generators.items()}


def keep(before: dict[StatePlace, Tensor], y: Tensor) -> None:
    """Keep the state before the forward pass that made Y."""
    key = address(y), tuple(before)
    _KEPT[key] = before
    _KEPT.move_to_end(key)
    if len(_KEPT) > MOST_KEPT:
        _KEPT.popitem(last=False)


@contextmanager
def repeating(layer: Layer, y: Tensor) -> Iterator[None]:
    """A context in which a layer repeats the forward pass that made Y, with other buffers in place of its own.

    Raises:
        InputError: if a part draws random numbers, and Y is not the output of a forward pass of this layer.
    """
    buffers, generators = _moving(layer)
    if not buffers and not generators:
        yield
        return
    states = _states(generators)
    before = _KEPT.get((address(y), (*buffers, *generators)))
    if before is None and any(part.draws for part in layer.modules() if isinstance(part, Layer)):
        raise InputError(
            f"a {type(layer).__name__} with a layer that draws random numbers was given a Y that is not the output of "
            "one of its last forward passes; expected that output itself: pass it on as it is, or call eval()."
        )
    # Other tensors, and not other numbers: a function transform forbids writing to a tensor from outside of it.
    own = {place: buffer for place, (_, buffer) in buffers.items()}
    used = _copied(own if before is None else {place: before[place] for place in own})
    try:
        for place, (table, _) in buffers.items():
            table[place[1]] = used[place]
        for place, generator in generators.items():
            generator.set_state((before or states)[place])
        yield
    finally:
        for place, (table, buffer) in buffers.items():
            table[place[1]] = buffer
        for place, generator in generators.items():
            generator.set_state(states[place])


Buffers = dict[StatePlace, tuple[dict[str, Tensor | None], Tensor]]
"""Place → the table, and the buffer in it."""


def _moving(layer: Layer) -> tuple[Buffers, dict[StatePlace, torch.Generator]]:
    """What a forward pass of a layer, or of its parts, now changes."""
    buffers, generators = Buffers(), dict[StatePlace, torch.Generator]()
    for part in _with_state(layer):
        for name in part.moving():
            table = own_buffers(part)
            buffer = table[name]
            assert buffer is not None
            buffers[id(table), name] = table, buffer
        if part.draws:
            generators |= {(id(one), name): one for name, one in part.random_generators().items()}
    return buffers, generators


def _with_state(layer: Layer) -> list[Layer]:
    """A layer and all of its parts, as far as their classes may have a state. `modules()` takes three times as long,
    which is a hundredth of a small step."""
    found: list[Layer] = []
    waiting: list[Any] = [layer]
    while waiting:
        part = waiting.pop()
        if part is not None:
            if _may_have_state(part.__class__):
                found.append(part)
            waiting += own_modules(part).values()
    return found


@cache
def _may_have_state(kind: type[Any]) -> bool:
    return issubclass(kind, Layer) and (kind.moving is not Layer.moving or kind.draws is not Layer.draws)
