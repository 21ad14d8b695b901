"""Forward passes that the backward pass repeats: they draw the random numbers that they drew, and move no statistic.

A layer made of layers computes the values between its parts again for its pullback. What a forward pass reads and
changes besides X stands in the buffers that `Layer.moving` names, such as the number of the next mask. Their numbers
before each forward pass are kept, under the address of the output Y in memory. No two outputs that are in use have the
same address, and the first samples of Y have that of Y.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from nets.calculus.layer import Layer
from nets.errors import InputError
from nets.torch_internals import address, own_buffers

MOST_KEPT = 4_096
"""Forward passes whose buffers are kept. The oldest is given up first."""

Place = tuple[int, str]
"""The identity of a module's table of buffers, and a name in it. Layers with other parameters share the table."""

_KEPT: OrderedDict[tuple[int | None, tuple[Place, ...]], dict[Place, Tensor]] = OrderedDict()


def moving(layer: Layer) -> dict[Place, Tensor]:
    """The buffers that a forward pass of a layer, or of its parts, now changes."""
    return {place: buffer for place, (_, buffer) in _moving(layer).items()}


def copied(buffers: dict[Place, Tensor]) -> dict[Place, Tensor]:
    """The same numbers in other memory. A buffer that stands in several places is still one."""
    copies = {id(buffer): buffer.detach().clone() for buffer in buffers.values()}
    return {place: copies[id(buffer)] for place, buffer in buffers.items()}


def keep(before: dict[Place, Tensor], y: Tensor) -> None:
    """Keep the numbers that the moving buffers had before the forward pass that made Y."""
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
    found = _moving(layer)
    if not found:
        yield
        return
    own = {place: buffer for place, (_, buffer) in found.items()}
    before = _KEPT.get((address(y), tuple(own)))
    if before is None and any(part.draws for part in layer.modules() if isinstance(part, Layer)):
        raise InputError(
            f"a {type(layer).__name__} with a layer that draws random numbers was given a Y that is not the output of "
            "one of its last forward passes; expected that output itself: pass it on as it is, or call eval()."
        )
    # Other tensors, and not other numbers: a function transform forbids writing to a tensor from outside of it.
    used = copied(own if before is None else before)
    try:
        for place, (table, _) in found.items():
            table[place[1]] = used[place]
        yield
    finally:
        for place, (table, buffer) in found.items():
            table[place[1]] = buffer


def _moving(layer: Layer) -> dict[Place, tuple[dict[str, Tensor | None], Tensor]]:
    """Place → the table, and the buffer in it."""
    found = {}
    for part in layer.modules():
        for name in part.moving() if isinstance(part, Layer) else ():
            table = own_buffers(part)
            buffer = table[name]
            assert buffer is not None
            found[id(table), name] = table, buffer
    return found
