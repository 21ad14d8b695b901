"""Adagrad: each entry's learning rate falls with the squares of its gradients so far."""

from collections.abc import Callable

import torch
from torch import Tensor

from nets import torch_internals
from nets.training.optimizers.kernel_rule import KernelRule
from nets.training.optimizers.update_rule import LearningRate, RuleState
from nets.validation import number


class Adagrad(KernelRule, known_as="adagrad"):
    """S ← S + G², Δθ = −η_t G / (√S + ε) with η_t = η / (1 + (t − 1) κ) at update t, as in `torch.optim.Adagrad`.

    With λ, G + λ θ takes the place of G.

    Source: Duchi, Hazan, Singer, "Adaptive subgradient methods for online learning and stochastic optimization", JMLR
    12 (2011), figure 1 with diagonal matrices.

    Args:
        decay: κ, from 0 up.
        initial: S before the first update, from 0 up.
        epsilon: ε, above 0.
        learning_rate, weight_decay: η and λ, see `DecayingRule`.

    Raises:
        InputError: for a number out of range.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1e-2,
        decay: float = 0.0,
        initial: float = 0.0,
        epsilon: float = 1e-10,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate, weight_decay, torch_internals.fused("adagrad"))
        self.decay = number("decay", decay, least=0)
        self.initial = number("initial", initial, least=0)
        self.epsilon = number("epsilon", epsilon, above=0)

    def init_moments(self, parameters: list[Tensor]) -> RuleState:
        """S = the initial number."""
        of = torch.contiguous_format
        return {"sum": [torch.full_like(p, self.initial, memory_format=of) for p in parameters]}

    def step(self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Δθ = −η_t G / (√S + ε)."""
        (t,) = state["updates"]
        t += 1
        rate = self.rate / (1 + (t.double() - 1) * self.decay)
        directions = self.decayed(parameters, gradients)
        for s, g in zip(state["sum"], directions, strict=True):
            s.addcmul_(g, g)
        return [-rate * g / (s.sqrt() + self.epsilon) for s, g in zip(state["sum"], directions, strict=True)]

    def run(self, kernel: Callable[..., None], state: RuleState, gradients: list[Tensor], skip: Tensor | None) -> None:
        """PyTorch's fused Adagrad."""
        kernel(
            state["change"], gradients, state["sum"], state["updates"] * len(gradients), lr=self.rate,
            lr_decay=self.decay, weight_decay=0.0, eps=self.epsilon, maximize=False, grad_scale=None, found_inf=skip,
        )  # fmt: skip
