"""Adam, and AdamW with its decoupled weight decay."""

from collections.abc import Callable, Sequence

from torch import Tensor

from nets import torch_internals
from nets.training.optimizers.kernel_rule import KernelRule, fractions
from nets.training.optimizers.update_rule import LearningRate, RuleState, zeros
from nets.validation import number


class Adam(KernelRule, known_as="adam"):
    """M ← β₁ M + (1 − β₁) G, V ← β₂ V + (1 − β₂) G², Δθ = −η M̂ / (√V̂ + ε), as in `torch.optim.Adam`.

    M̂ = M / (1 − β₁^t) and V̂ = V / (1 − β₂^t) at update t; M = V = 0 before the first. With λ, G + λ θ takes the place
    of G. Index letters are left out: each equation holds for each entry of each parameter.

    Source: Kingma, Ba, "Adam: a method for stochastic optimization", arXiv:1412.6980, algorithm 1.

    Args:
        betas: β₁ and β₂, each from 0 up and below 1.
        epsilon: ε, above 0.
        learning_rate, weight_decay: η and λ, see `DecayingRule`.

    Raises:
        InputError: for a number out of range, and betas that are not two numbers.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate, weight_decay, torch_internals.fused("adam"))
        self.betas = fractions("betas", betas)
        self.epsilon = number("epsilon", epsilon, above=0)

    def init_moments(self, parameters: list[Tensor]) -> RuleState:
        """M = V = 0."""
        return {"mean": zeros(parameters), "square": zeros(parameters)}

    def step(self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Δθ = −η M̂ / (√V̂ + ε), and − η λ θ where the decay is decoupled."""
        (t,), (first, second) = state["updates"], self.betas
        t += 1
        unbiased_mean, unbiased_square = 1 - first ** t.double(), 1 - second ** t.double()
        changes = []
        directions = self.decayed(parameters, gradients)
        for m, v, g, p in zip(state["mean"], state["square"], directions, parameters, strict=True):
            m.lerp_(g, 1 - first)
            v.mul_(second).addcmul_(g, g, value=1 - second)
            change = -self.rate * (m / unbiased_mean) / ((v / unbiased_square).sqrt() + self.epsilon)
            changes.append(change - self.rate * self.weight_decay * p if self.decoupled else change)
        return changes

    def run(self, kernel: Callable[..., None], state: RuleState, gradients: list[Tensor], skip: Tensor | None) -> None:
        """PyTorch's fused Adam."""
        change, steps, (first, second) = state["change"], state["updates"] * len(gradients), self.betas
        kernel(
            change, gradients, state["mean"], state["square"], [], steps, lr=self.rate, beta1=first, beta2=second,
            weight_decay=0.0, eps=self.epsilon, amsgrad=False, maximize=False, grad_scale=None, found_inf=skip,
        )  # fmt: skip


class AdamW(Adam, known_as="adamw"):
    """Δθ = −η (M̂ / (√V̂ + ε) + λ θ), with M̂ and V̂ of `Adam`, as in `torch.optim.AdamW`.

    Source: Loshchilov, Hutter, "Decoupled weight decay regularization", arXiv:1711.05101, algorithm 2; there η of the
    decay is written as a factor of the schedule. Arguments and errors are those of `Adam`; only λ has another default.
    """

    decoupled = True

    def __init__(
        self,
        learning_rate: LearningRate = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(learning_rate, betas, epsilon, weight_decay)
