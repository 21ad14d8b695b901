"""Stochastic gradient descent with momentum and weight decay."""

from typing import Any

import torch
from torch import Tensor

from nets import torch_internals
from nets.training.optimizers.update_rule import Change, RuleState, UpdateRule
from nets.validation import number


class SGD(UpdateRule):
    """V_p ← μ V_p + G_p + λ θ_p with V = 0 before the first update, and Δθ_p = −η V_p, as in `torch.optim.SGD`.

    Source: Polyak, USSR Computational Mathematics 4 (1964).

    Args:
        learning_rate: η, above 0.
        momentum: μ, from 0 up and below 1.
        weight_decay: λ, from 0 up.

    Raises:
        InputError: for a number out of range.
    """

    def __init__(self, learning_rate: float, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        self.learning_rate = number("learning_rate", learning_rate, above=0)
        self.momentum = number("momentum", momentum, least=0, below=1)
        self.weight_decay = number("weight_decay", weight_decay, least=0)
        self._follows_gradient = self.momentum == 0 and self.weight_decay == 0
        self._kernel = torch_internals.fused_sgd()
        self._options: dict[str, Any] = {"lr": self.learning_rate, "momentum": self.momentum, "dampening": 0.0}
        self._options |= {"nesterov": False, "maximize": False, "is_first_step": False}

    def init(self, parameters: list[Tensor]) -> RuleState:
        """V_p = 0; without momentum and weight decay V is the gradient, and nothing is kept."""
        return {} if self._follows_gradient else {"velocity": [torch.zeros_like(parameter) for parameter in parameters]}

    def step(self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Δθ_p = −η V_p, after V_p ← μ V_p + G_p + λ θ_p."""
        velocities = state.get("velocity", gradients)
        if velocities is not gradients:
            for v, gradient, parameter in zip(velocities, gradients, parameters, strict=True):
                v.mul_(self.momentum).add_(gradient).add_(parameter, alpha=self.weight_decay)
        return [-self.learning_rate * v for v in velocities]

    def apply_fused(
        self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor], skip: Tensor | None = None
    ) -> Change:
        """The same update by PyTorch's fused kernel, which reads and writes each number once."""
        if self._kernel is None:
            return self.apply(state, parameters, gradients, skip)
        velocities = state.get("velocity", [])
        directions, buffers, decay = gradients, velocities, self.weight_decay
        if velocities and self.momentum == 0:
            # At momentum 0 the kernel keeps no V. It is computed here, since the record holds its norm.
            torch_internals.copy(velocities, gradients)
            torch_internals.add(velocities, parameters, decay)
            directions, buffers, decay = velocities, [], 0.0
        self._kernel(parameters, directions, buffers, weight_decay=decay, found_inf=skip, **self._options)
        return velocities or gradients, -self.learning_rate
