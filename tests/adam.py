"""Adam as an update rule: what a user writes to add one."""

import torch
from torch import Tensor

from nets.training.optimizers import RuleState, UpdateRule


class Adam(UpdateRule):
    """M ← β₁ M + (1 − β₁) G, V ← β₂ V + (1 − β₂) G², Δθ = −η M̂ / (√V̂ + ε).

    M̂ = M / (1 − β₁^t) and V̂ = V / (1 − β₂^t) at update t.

    Source: Kingma, Ba, "Adam: a method for stochastic optimization", arXiv:1412.6980, algorithm 1.
    """

    def __init__(self, learning_rate: float, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8) -> None:
        self.learning_rate, self.betas, self.epsilon = learning_rate, betas, epsilon

    def init(self, parameters: list[Tensor]) -> RuleState:
        zeros = {name: [torch.zeros_like(parameter) for parameter in parameters] for name in ("mean", "square")}
        return zeros | {"updates": [torch.zeros((), dtype=torch.float64, device=parameters[0].device)]}

    def step(self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        (t,), (first, second) = state["updates"], self.betas
        t += 1
        changes = []
        for mean, square, gradient in zip(state["mean"], state["square"], gradients, strict=True):
            mean.lerp_(gradient, 1 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            size = (square / (1 - second**t)).sqrt() + self.epsilon
            changes.append(-self.learning_rate * (mean / (1 - first**t)) / size)
        return changes
