"""Stochastic gradient descent with momentum, Nesterov momentum and weight decay."""

from typing import Any

import torch
from torch import Tensor

from nets import torch_internals
from nets.errors import InputError
from nets.training.optimizers.update_rule import Change, DecayingRule, LearningRate, RuleState
from nets.validation import number, yes_or_no


class SGD(DecayingRule, known_as="sgd"):
    """V_p ← μ V_p + G_p + λ θ_p with V = 0 before the first update, and Δθ_p = −η V_p, as in `torch.optim.SGD`.

    Nesterov: Δθ_p = −η (G_p + λ θ_p + μ V_p), with the new V.

    Sources: Polyak, USSR Computational Mathematics 4 (1964); Sutskever et al., "On the importance of initialization and
    momentum in deep learning", ICML 2013, for Nesterov's form.

    Args:
        momentum: μ, from 0 up and below 1.
        learning_rate, weight_decay: η and λ, see `DecayingRule`.
        nesterov: whether to use Nesterov's form; needs a momentum.

    Raises:
        InputError: for a number out of range, and Nesterov's form without a momentum.
    """

    def __init__(
        self,
        learning_rate: LearningRate,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(learning_rate, weight_decay)
        self.momentum = number("momentum", momentum, least=0, below=1)
        self.nesterov = yes_or_no("nesterov", nesterov)
        if self.nesterov and self.momentum == 0:
            raise InputError("nesterov is True and momentum is 0; expected a momentum above 0: set momentum=0.9.")
        self._follows_gradient = self.momentum == 0 and self.weight_decay == 0
        self._kernel = torch_internals.fused("sgd")
        self._options: dict[str, Any] = {"momentum": self.momentum, "dampening": 0.0}
        self._options |= {"nesterov": False, "maximize": False, "is_first_step": False}

    def init(self, parameters: list[Tensor]) -> RuleState:
        """V_p = 0; without momentum and weight decay V is the gradient, and nothing is kept."""
        return {} if self._follows_gradient else {"velocity": [torch.zeros_like(parameter) for parameter in parameters]}

    def step(self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Δθ_p = −η V_p, after V_p ← μ V_p + G_p + λ θ_p; or −η (G_p + λ θ_p + μ V_p)."""
        directions = velocities = state.get("velocity", gradients)
        if velocities is not gradients:
            for v, gradient, parameter in zip(velocities, gradients, parameters, strict=True):
                v.mul_(self.momentum).add_(gradient).add_(parameter, alpha=self.weight_decay)
        if self.nesterov:
            directions = [
                gradient.add(parameter, alpha=self.weight_decay).add_(v, alpha=self.momentum)
                for v, gradient, parameter in zip(velocities, gradients, parameters, strict=True)
            ]
        return [-self.rate * direction for direction in directions]

    def apply_fused(
        self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor], skip: Tensor | None = None
    ) -> Change:
        """The same update by PyTorch's fused kernel, which reads and writes each number once.

        The kernel takes η as a number only. It is not used for Nesterov's form: the record needs Δθ, which the kernel
        does not keep.
        """
        rate = self.rate
        if self._kernel is None or self.nesterov or isinstance(rate, Tensor):
            return self.apply(state, parameters, gradients, skip)
        velocities = state.get("velocity", [])
        directions, buffers, decay = gradients, velocities, self.weight_decay
        if velocities and self.momentum == 0:
            # At momentum 0 the kernel keeps no V. It is computed here, since the record needs its norm.
            torch_internals.copy(velocities, gradients)
            torch_internals.add(velocities, parameters, decay)
            directions, buffers, decay = velocities, [], 0.0
        self._kernel(parameters, directions, buffers, lr=rate, weight_decay=decay, found_inf=skip, **self._options)
        return velocities or gradients, -rate
