"""Functions whose derivative a module gives on purpose instead of its own.

Some operations of the module are replaced. At the point, a replacement has the same result; elsewhere it changes as a
common surrogate gradient assumes. If the slopes of the resulting function are those of the gradient, that function was
differentiated.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nets.records.reason import Reason
from nets.torch_internals import TorchDispatchMode, pytree
from nets.verification.problem.problem import Problem

aten = torch.ops.aten


class AtThePoint(NamedTuple):
    """An operation at the point itself: its arguments and its result."""

    given: tuple[Any, ...]
    result: Any


Rule = Callable[[AtThePoint, tuple[Any, ...]], Any]
"""(the operation at the point, its arguments now) → its result now."""


def _constant(at: AtThePoint, given: tuple[Any, ...]) -> Tensor:
    return at.result.clone()


def _identity(at: AtThePoint, given: tuple[Any, ...]) -> Tensor:
    return at.result + (given[0] - at.given[0])


def _clipped(at: AtThePoint, given: tuple[Any, ...]) -> Tensor:
    """The identity for numbers between −1 and 1, and constant elsewhere."""
    return at.result + (given[0] - at.given[0]) * (at.given[0].abs() <= 1)


def _masked(at: AtThePoint, given: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """The identity where a quantized number is in range. The result is (output, mask)."""
    output, mask = at.result
    return output + (given[0] - at.given[0]) * mask, mask


def _gamma(at: AtThePoint, given: tuple[Any, ...]) -> Tensor:
    slope = aten._standard_gamma_grad(at.given[0], at.result)
    return at.result + slope * (given[0] - at.given[0])


def _dirichlet(at: AtThePoint, given: tuple[Any, ...]) -> Tensor:
    """x_j moves by s_j − x_j Σ_i s_i, where s_i is the derivative of x_i by α_i alone times the change of α_i."""
    concentration, x = at.given[0], at.result
    total = concentration.sum(-1, keepdim=True).expand_as(concentration)
    moved = aten._dirichlet_grad(x, concentration, total) * (given[0] - concentration)
    return x + moved - x * moved.sum(-1, keepdim=True)


ROUNDING_OPERATIONS = (aten.round, aten.floor, aten.ceil, aten.trunc, aten.sign, aten.heaviside)
QUANTIZING = (aten.fake_quantize_per_tensor_affine_cachemask, aten.fake_quantize_per_channel_affine_cachemask)
SAMPLERS: Mapping[Any, Rule] = {aten._standard_gamma: _gamma, aten._sample_dirichlet: _dirichlet}
IDENTITY: Mapping[Any, Rule] = dict.fromkeys(ROUNDING_OPERATIONS, _identity) | dict.fromkeys(QUANTIZING, _masked)
CLIPPED: Mapping[Any, Rule] = dict.fromkeys(ROUNDING_OPERATIONS, _clipped)
DETACHED: Mapping[Any, Rule] = {aten.detach: _constant}


class Surrogate:
    """The module with some operations replaced.

    Args:
        problem: the module at its point.
        rules: operation → its replacement.
        reason: the mistake, if this is the function that was differentiated.
        reason_if_flat: the mistake, if the module's own slope is zero.
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
        return bool(self._replacing.recorded)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Replace the operations within the module, but not operations on its output."""
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
    """Replaces operations by their rules, in the order in which they are called.

    Attributes:
        recording: whether this is the run at the point itself, in which nothing is replaced.
        recorded: the operations of that run.
        turn: how many of them were called so far in this run.
    """

    def __init__(self, rules: Mapping[Any, Rule]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rules, self.recording, self.turn = rules, True, 0
        self.recorded: list[AtThePoint] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        rule = self.rules.get(func.overloadpacket)
        if rule is None:
            return result
        if self.recording:
            self.recorded.append(AtThePoint(*pytree.tree_map_only(Tensor, torch.clone, (args, result))))
            return result
        self.turn += 1
        if self.turn > len(self.recorded):
            raise RuntimeError("the module calls more of these operations here than at the point")
        return rule(self.recorded[self.turn - 1], args)


def surrogates(problem: Problem) -> Iterator[Surrogate]:
    """The surrogates whose operations the module has."""
    for rules, reason, reason_if_flat in (
        (SAMPLERS, Reason.IMPLICIT_REPARAMETRISATION, Reason.IMPLICIT_REPARAMETRISATION),
        (IDENTITY, Reason.STRAIGHT_THROUGH, Reason.STRAIGHT_THROUGH),
        (CLIPPED, Reason.STRAIGHT_THROUGH, Reason.STRAIGHT_THROUGH),
        (DETACHED, Reason.DETACHED, Reason.STRAIGHT_THROUGH_A_PART),
    ):
        surrogate = Surrogate(problem, rules, reason, reason_if_flat)
        if surrogate.occurs:
            yield surrogate
