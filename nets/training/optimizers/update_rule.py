"""The protocol of an optimizer: a rule that turns gradients into changes of the parameters, and the state that it
keeps."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from nets import torch_internals
from nets.settings import enter
from nets.training.parameters import check_like
from nets.validation import number, refusal

RuleState = dict[str, list[Tensor]]
"""What a rule keeps between two updates: name → tensors, such as 'velocity' → one tensor for each parameter."""


Change = tuple[list[Tensor], float]
"""(D, scale): the change of an update is Δθ_p = scale · D_p. D may be the list of gradients itself."""

LearningRate = float | Callable[[int], float]
"""η: a number; or a schedule, a function lr(step) of the number of updates made before, see `nets.training.schedules`.
"""

OPTIMIZERS: dict[str, type["UpdateRule"]] = {}
"""Each rule under its name, as the setting `optimizer` of a run takes it."""


class UpdateRule(ABC):
    """θ_p ← θ_p + Δθ_p with Δθ = step(state, θ, G), where G_p = ∂ℓ/∂θ_p.

    A rule defines `init` and `step`. `apply` and `apply_fused` are derived from them; a rule overrides `apply_fused` if
    it has a faster way. A subclass enters itself in OPTIMIZERS with `class Momentum(nets.UpdateRule,
    known_as="momentum")`.

    Attributes:
        learning_rate: η, a number or a schedule.
        rate: η of the update that is being made. With a schedule on a GPU it is a tensor there, so that a CUDA graph
            reads it anew at each launch.
        scratch: names of the state that each update overwrites before it reads it. A saved descent leaves them out.
        recorded: names of the state that hold one number each, written to the record of the step.
    """

    learning_rate: LearningRate
    rate: float | Tensor
    scratch: ClassVar[frozenset[str]] = frozenset()
    recorded: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, *, known_as: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        enter(OPTIMIZERS, known_as, cls)

    def __init__(self, learning_rate: LearningRate) -> None:
        """Args: learning_rate: η, above 0, or a schedule."""
        self.learning_rate = (
            learning_rate if callable(learning_rate) else number("learning_rate", learning_rate, above=0)
        )
        self.rate = self.rate_at(0)

    @abstractmethod
    def init(self, parameters: list[Tensor]) -> RuleState:
        """The state before the first update. Tensors have the device of the parameters."""

    @abstractmethod
    def step(self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Δθ_p for each parameter p, in its shape and precision. The parameters and the gradients stay as they are.

        The tensors of `state` are updated in place, since a CUDA graph reads and writes them at fixed addresses. For
        the same reason a counter of updates is a tensor.
        """

    def rate_at(self, step: int) -> float:
        """η of the update that follows `step` others.

        Raises:
            InputError: if the schedule gives no finite number from 0 up.
        """
        rate = self.learning_rate
        return number(f"the learning rate after {step} updates", rate(step), least=0) if callable(rate) else rate

    def begin(self, step: int, device: torch.device) -> float:
        """Take η of the update that follows `step` others from the schedule.

        Args:
            step: the number of updates made before.
            device: of the parameters.

        Returns:
            η.
        """
        rate = self.rate_at(step)
        if device.type == "cpu":
            self.rate = rate
        elif isinstance(known := vars(self).get("rate"), Tensor) and known.device == device:
            known.fill_(rate)
        else:
            self.rate = torch.full((), rate, dtype=torch.float64, device=device)
        return rate

    def kept(self, state: RuleState) -> RuleState:
        """The part of a state that a saved descent needs."""
        return {name: tensors for name, tensors in state.items() if name not in self.scratch}

    def apply(
        self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor], skip: Tensor | None = None
    ) -> Change:
        """Make an update in place: θ_p ← θ_p + Δθ_p.

        Args:
            state: is updated in place.
            parameters: θ_p, updated in place.
            gradients: ∂ℓ/∂θ_p.
            skip: a number on the device of the parameters. Where it is 1, parameters and state stay as they are. It
                lets a GPU decide without waiting for the CPU.

        Returns:
            The change, whose norm is recorded.
        """
        if skip is None:
            changes = self._checked_step(state, parameters, gradients)
        else:
            before = {name: [tensor.clone() for tensor in tensors] for name, tensors in state.items()}
            proposed = self._checked_step(state, parameters, gradients)
            skipped = skip.bool()
            for name, tensors in state.items():
                for tensor, old in zip(tensors, before[name], strict=True):
                    tensor.copy_(torch.where(skipped, old, tensor))
            changes = [change.masked_fill(skipped, 0) for change in proposed]
        torch_internals.add(parameters, changes, 1.0)
        return changes, 1.0

    def apply_fused(
        self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor], skip: Tensor | None = None
    ) -> Change:
        """The same as `apply`, for parameters and gradients that are all contiguous and of one precision."""
        return self.apply(state, parameters, gradients, skip)

    def _checked_step(self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """The result of `step`. Raises InputError unless it has a tensor like each parameter."""
        changes, name = self.step(state, parameters, gradients), f"{type(self).__name__}.step"
        if not isinstance(changes, list | tuple) or len(changes) != len(parameters):
            expected = f"a list of {len(parameters)} tensors"
            raise refusal(f"the result of {name}", changes, expected, "return Δθ of each parameter")
        for place, (change, parameter) in enumerate(zip(changes, parameters, strict=True)):
            check_like(f"entry {place} of the result of {name}", change, parameter)
        return list(changes)


class DecayingRule(UpdateRule):
    """A rule with a weight decay: G_p + λ θ_p takes the place of G_p, or Δθ_p has the term −η λ θ_p.

    Args:
        learning_rate: η, above 0, or a schedule.
        weight_decay: λ, from 0 up.

    Raises:
        InputError: for a number out of range.
    """

    decoupled: ClassVar[bool] = False
    """Whether Δθ has the term −η λ θ. Otherwise G + λ θ takes the place of G."""

    def __init__(self, learning_rate: LearningRate, weight_decay: float) -> None:
        super().__init__(learning_rate)
        self.weight_decay = number("weight_decay", weight_decay, least=0)

    def decayed(self, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """G_p + λ θ_p; the gradients themselves where λ is 0 or the decay is decoupled."""
        if self.decoupled or self.weight_decay == 0:
            return gradients
        return [torch.add(g, p, alpha=self.weight_decay) for g, p in zip(gradients, parameters, strict=True)]


def zeros(parameters: list[Tensor]) -> list[Tensor]:
    """A contiguous zero tensor for each parameter."""
    return [torch.zeros_like(parameter, memory_format=torch.contiguous_format) for parameter in parameters]


def initial_state(rule: UpdateRule, parameters: list[Tensor]) -> RuleState:
    """The result of `init`.

    Raises:
        InputError: unless it is a dict of lists of tensors, and the rule has a learning rate.
    """
    name = type(rule).__name__
    rate = getattr(rule, "learning_rate", None)
    if not callable(rate):
        number(f"the learning_rate of {name}", rate, least=0, remedy="set it in __init__")
    state = rule.init(parameters)
    expected, remedy = "a dict name → list of tensors", "return {} for a rule without a state"
    if not isinstance(state, dict):
        raise refusal(f"the result of {name}.init", state, expected, remedy)
    for key, tensors in state.items():
        if not isinstance(key, str) or not isinstance(tensors, list) or not all(isinstance(t, Tensor) for t in tensors):
            raise refusal(f"the entry {key!r} of the result of {name}.init", tensors, expected, remedy)
    return state
