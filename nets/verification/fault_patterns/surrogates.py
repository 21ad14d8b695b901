"""Functions whose derivative a module gives on purpose in the place of its own.

Some operations of the module are replaced: at the point they give what they gave, and off the point they move as the gradient takes
them to move. If the slopes of that function are those of the gradient, it is the function that was differentiated.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from nets.records.reason import Reason
from nets.verification.problem.problem import Problem

aten = torch.ops.aten


class Then(NamedTuple):
    """An operation at the point itself: what it was given, and what it gave."""

    given: tuple[Any, ...]
    result: Any


Rule = Callable[[Then, tuple[Any, ...]], Any]
"""(the operation at the point, what it is given now) → what it gives now."""


def _constant(then: Then, given: tuple[Any, ...]) -> Tensor:
    return then.result.clone()


def _identity(then: Then, given: tuple[Any, ...]) -> Tensor:
    return then.result + (given[0] - then.given[0])


def _clipped(then: Then, given: tuple[Any, ...]) -> Tensor:
    """The identity for numbers between −1 and 1."""
    return then.result + (given[0] - then.given[0]) * (then.given[0].abs() <= 1)


def _masked(then: Then, given: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """The identity where a quantized number is in range: (output, mask)."""
    output, mask = then.result
    return output + (given[0] - then.given[0]) * mask, mask


def _gamma(then: Then, given: tuple[Any, ...]) -> Tensor:
    slope = aten._standard_gamma_grad(then.given[0], then.result)
    return then.result + slope * (given[0] - then.given[0])


def _dirichlet(then: Then, given: tuple[Any, ...]) -> Tensor:
    """x_j moves by s_j − x_j Σ_i s_i, where s_i is the derivative of x_i by α_i alone times the move of α_i."""
    concentration, x = then.given[0], then.result
    total = concentration.sum(-1, keepdim=True).expand_as(concentration)
    moved = torch._dirichlet_grad(x, concentration, total) * (given[0] - concentration)
    return x + moved - x * moved.sum(-1, keepdim=True)


ROUNDING = (aten.round, aten.floor, aten.ceil, aten.trunc, aten.sign, aten.heaviside)
QUANTIZING = (aten.fake_quantize_per_tensor_affine_cachemask, aten.fake_quantize_per_channel_affine_cachemask)
SAMPLERS: Mapping[Any, Rule] = {aten._standard_gamma: _gamma, aten._sample_dirichlet: _dirichlet}
IDENTITY: Mapping[Any, Rule] = dict.fromkeys(ROUNDING, _identity) | dict.fromkeys(QUANTIZING, _masked)
CLIPPED: Mapping[Any, Rule] = dict.fromkeys(ROUNDING, _clipped)
DETACHED: Mapping[Any, Rule] = {aten.detach: _constant}


class Surrogate:
    """The module with some operations replaced.

    Args:
        problem: the module at its point.
        rules: operation → what it is replaced by.
        reason: what it says of the gradient, if this is the function that was differentiated.
        reason_if_flat: the same where the module's own slope is zero.
    """

    def __init__(self, problem: Problem, rules: Mapping[Any, Rule], reason: Reason, reason_if_flat: Reason) -> None:
        self._problem, self.reason, self.reason_if_flat = problem, reason, reason_if_flat
        self._replacing = _Replacing(rules)
        with self.active():
            problem.evaluate()
        self._replacing.recording = False

    @property
    def occurs(self) -> bool:
        """Whether the module does any of the operations."""
        return bool(self._replacing.then)

    @contextmanager
    def active(self) -> Iterator[None]:
        """While the module runs, and not in what is done with its output."""
        module, mode = self._problem.module, self._replacing

        def enter(*_: object) -> None:
            mode.turn = 0
            mode.__enter__()  # type: ignore[no-untyped-call]

        def leave(*_: object) -> None:
            mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]

        handles = (module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class _Replacing(TorchDispatchMode):
    """Operations by their rules, in the order in which they are called.

    Attributes:
        recording: whether this is the run at the point itself, in which nothing is replaced.
        then: what was recorded.
        turn: how many of the operations were called in this run.
    """

    def __init__(self, rules: Mapping[Any, Rule]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rules, self.recording, self.turn = rules, True, 0
        self.then: list[Then] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        rule = self.rules.get(func.overloadpacket)
        if rule is None:
            return result
        if self.recording:
            self.then.append(Then(*pytree.tree_map_only(Tensor, torch.clone, (args, result))))
            return result
        self.turn += 1
        return rule(self.then[self.turn - 1], args)


def surrogates(problem: Problem) -> Iterator[Surrogate]:
    """Those whose operations the module does."""
    for rules, reason, reason_if_flat in (
        (SAMPLERS, Reason.IMPLICIT_REPARAMETRISATION, Reason.IMPLICIT_REPARAMETRISATION),
        (IDENTITY, Reason.STRAIGHT_THROUGH, Reason.STRAIGHT_THROUGH),
        (CLIPPED, Reason.STRAIGHT_THROUGH, Reason.STRAIGHT_THROUGH),
        (DETACHED, Reason.DETACHED, Reason.STRAIGHT_THROUGH_A_PART),
    ):
        surrogate = Surrogate(problem, rules, reason, reason_if_flat)
        if surrogate.occurs:
            yield surrogate
