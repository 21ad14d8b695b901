"""Gradient clipping: any rule, with gradients of bounded size."""

import math

import torch
from torch import Tensor

from nets import torch_internals
from nets.calculus.norms import norm_tensors, norms_now
from nets.training.optimizers.update_rule import Change, LearningRate, RuleState, UpdateRule
from nets.validation import number

AWAY_FROM_ZERO = 1e-6
"""The number that PyTorch adds to ‖G‖ before it divides by it."""


class Clipped(UpdateRule):
    """A rule applied to Ĝ in place of G: each entry of G is clipped to [−v, v]; then all of G is scaled to a norm of at
    most c.

    By value: G ← max(−v, min(G, v)). By norm: Ĝ_p = G_p min(1, c / (‖G‖ + 10⁻⁶)) with ‖G‖ = (Σ_p ‖G_p‖²)^½ over all
    parameters. They equal `torch.nn.utils.clip_grad_value_` and `clip_grad_norm_`. The record of a step has ‖G‖ as
    `total_gradient_norm` and ‖Ĝ‖ as `clipped_gradient_norm`. `parameter.grad` stays G.

    Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", arXiv:1211.5063,
    algorithm 1.

    Args:
        rule: makes the update.
        norm: c, above 0; None for no limit.
        value: v, above 0; None for no limit.

    Raises:
        InputError: for a number out of range.
    """

    recorded = ("clipped_gradient_norm",)

    def __init__(self, rule: UpdateRule, norm: float | None = None, value: float | None = None) -> None:
        self.rule = rule
        self.norm = None if norm is None else number("clip_norm", norm, above=0)
        self.value = None if value is None else number("clip_value", value, above=0)
        self.scratch = rule.scratch | {*self.recorded}  # type: ignore[misc]  # as the rule within has its own

    @property
    def learning_rate(self) -> LearningRate:  # type: ignore[override]
        """η of the inner rule."""
        return self.rule.learning_rate

    def begin(self, step: int, device: torch.device) -> float:
        """As in the inner rule."""
        return self.rule.begin(step, device)

    def init(self, parameters: list[Tensor]) -> RuleState:
        """The state of the inner rule, and ‖Ĝ‖."""
        (name,), like = self.recorded, parameters[0]
        precision = torch.float64 if like.dtype == torch.float64 else torch.float32
        return {**self.rule.init(parameters), name: [torch.zeros((), dtype=precision, device=like.device)]}

    def step(self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Δθ of the inner rule, from Ĝ."""
        return self.rule.step(state, parameters, self.clipped(state, gradients))

    def apply(
        self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor], skip: Tensor | None = None
    ) -> Change:
        """The update of the inner rule, from Ĝ."""
        return self.rule.apply(state, parameters, self.clipped(state, gradients), skip)

    def apply_fused(
        self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor], skip: Tensor | None = None
    ) -> Change:
        """The fused update of the inner rule, from Ĝ."""
        return self.rule.apply_fused(state, parameters, self.clipped(state, gradients), skip)

    def clipped(self, state: RuleState, gradients: list[Tensor]) -> list[Tensor]:
        """Ĝ_p. ‖Ĝ‖ is written to the state."""
        ((after,),) = (state[name] for name in self.recorded)
        found = gradients if self.value is None else [g.clamp(-self.value, self.value) for g in gradients]
        total = _total_norm(found)
        if self.norm is None:
            after.fill_(total)
            return found
        factor = self.norm / (total + AWAY_FROM_ZERO)
        factor = factor.clamp(max=1) if isinstance(factor, Tensor) else min(factor, 1.0)
        after.fill_(total * factor)
        return torch_internals.scaled(found, factor)


def _total_norm(tensors: list[Tensor]) -> float | Tensor:
    """(Σ_p ‖G_p‖²)^½; on a GPU as a tensor there, without waiting for it."""
    if tensors[0].device.type == "cpu":
        return math.hypot(*norms_now(tensors))
    return torch.linalg.vector_norm(torch.stack(norm_tensors(tensors, torch.float64)))
