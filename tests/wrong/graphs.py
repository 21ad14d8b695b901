"""Faults of paths, hooks, caches and state."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from nets.records.reason import Reason
from tests.building import Make, Written, normal
from tests.wrong.modules import Cached, Clipped, GradWritten, Hooked, Stateful, Tied
from tests.wrong.record import WrongBackward, of_input


def hooked(hook: Callable[[Hooked], object]) -> Make:
    return lambda r: (Hooked(r, hook), (normal(r, 3, 3),))


def halved(layer: nn.Module, inputs: Any, outputs: Any) -> Any:
    return tuple(None if g is None else g / 2 for g in inputs)


STATEFUL = {
    "first kept": Reason.OTHER_SECOND_WALK,
    "running sum": Reason.GRAD_OVERWRITTEN,
    "doubled from the second on": Reason.OTHER_SECOND_GRADIENT,
    "alternating sign": Reason.OTHER_SECOND_WALK,
}
"""What is kept between calls → the reason of the failure."""


def stateful(mistake: str) -> WrongBackward:
    return WrongBackward(
        f"stateful: {mistake}",
        lambda r: (Stateful(normal(r, 4, 3), mistake), (normal(r, 2, 3),)),
        STATEFUL[mistake],
        "weight",
        "later call",
    )


GRAPHS = [
    *(
        WrongBackward(
            f"tied weights: {path} detached",
            lambda r, path=path: (Tied(normal(r, 3, 4), path), (normal(r, 2, 4),)),
            None,
            "weight",
        )
        for path in ("encoder", "decoder")
    ),
    WrongBackward(
        "residual: skip detached",
        lambda r: (
            Written(lambda m, x: x.detach() + (x @ m.weight).tanh(), weight=normal(r, 4, 4)),
            (normal(r, 3, 4),),
        ),
        None,
        "input",
    ),
    WrongBackward(
        "residual: branch detached",
        lambda r: (
            Written(lambda m, x: x + (x @ m.weight).tanh().detach(), weight=normal(r, 4, 4)),
            (normal(r, 3, 4),),
        ),
    ),
    WrongBackward(
        "saved value overwritten through .data",
        lambda r: (Written(overwritten, weight=normal(r, 4, 3)), (normal(r, 2, 3),)),
    ),
    WrongBackward(
        "checkpoint: recomputed from the input before centring",
        of_input(
            lambda x: (x - x.mean(0)).tanh(),
            lambda g, x: (g * (1 - x.tanh() ** 2)) - (g * (1 - x.tanh() ** 2)).mean(0),
        ),
        None,
        "input",
    ),
    WrongBackward(
        "hook: input's gradient halved by a module's",
        hooked(lambda m: m.last.register_full_backward_hook(halved)),
    ),
    WrongBackward(
        "hook: upstream's sign by a module's",
        hooked(lambda m: m.first.register_full_backward_pre_hook(lambda layer, outputs: (-outputs[0],))),
    ),
    WrongBackward(
        "hook: weight's gradient clamped by its own",
        hooked(lambda m: m.first.weight.register_hook(lambda g: g.clamp(-0.1, 0.1))),
        None,
        "first.weight",
    ),
    WrongBackward(
        "hook: bias's gradient doubled by its own",
        hooked(lambda m: m.last.bias.register_hook(lambda g: 2 * g)),
        Reason.CONSTANT_FACTOR,
        "last.bias",
    ),
    WrongBackward("hook: clipped in passing", lambda r: (Clipped(r), (normal(r, 3, 3),))),
    WrongBackward(
        "cache: activation of an earlier call",
        lambda r: (Cached(normal(r, 4, 3), "first", normal(r, 2, 3)), (normal(r, 2, 3),)),
    ),
    WrongBackward(
        "cache: activation of the first call",
        lambda r: (Cached(normal(r, 4, 3), "first"), (normal(r, 2, 3),)),
        Reason.GRADIENT_REMEMBERS,
        shows="later call",
    ),
    WrongBackward(
        "cache: activation of the call before",
        lambda r: (Cached(normal(r, 4, 3), "previous"), (normal(r, 2, 3),)),
        Reason.GRADIENT_REMEMBERS,
        shows="later call",
    ),
    stateful("doubled from the second on"),
    stateful("running sum"),
    stateful("first kept"),
    stateful("alternating sign"),
    WrongBackward(
        "stateful: .grad overwritten, not added to",
        lambda r: (GradWritten(normal(r, 4, 3)), (normal(r, 2, 3),)),
        Reason.GRAD_OVERWRITTEN,
        "linear.weight",
        "accumulation",
    ),
]


def overwritten(module: nn.Module, x: Tensor) -> Tensor:
    hidden = x @ module.weight.T
    y = hidden * hidden
    hidden.data.tanh_()
    return y
