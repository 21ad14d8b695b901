"""Lion: the sign of a momentum."""

from collections.abc import Sequence

from torch import Tensor

from nets.training.optimizers.kernel_rule import fractions
from nets.training.optimizers.update_rule import DecayingRule, LearningRate, RuleState, zeros


class Lion(DecayingRule, known_as="lion"):
    """Δθ = −η (sgn(β₁ M + (1 − β₁) G) + λ θ), then M ← β₂ M + (1 − β₂) G, with M = 0 before the first update.

    Every entry moves by η. A good η is 3 to 10 times smaller than for AdamW, and a good λ as many times larger.

    Source: Chen et al., "Symbolic discovery of optimization algorithms", arXiv:2302.06675, algorithm 2.

    Args:
        betas: β₁ and β₂, each from 0 up and below 1.
        learning_rate, weight_decay: η and λ, see `DecayingRule`.

    Raises:
        InputError: for a number out of range, and betas that are not two numbers.
    """

    decoupled = True

    def __init__(
        self, learning_rate: LearningRate = 1e-4, betas: Sequence[float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(learning_rate, weight_decay)
        self.betas = fractions("betas", betas)

    def init(self, parameters: list[Tensor]) -> RuleState:
        """M = 0."""
        return {"mean": zeros(parameters)}

    def step(self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Δθ = −η (sgn(β₁ M + (1 − β₁) G) + λ θ)."""
        changes = []
        for m, g, p in zip(state["mean"], gradients, parameters, strict=True):
            direction = m.lerp(g, 1 - self.betas[0]).sign_()
            changes.append(-self.rate * (direction.add_(p, alpha=self.weight_decay)))
            m.lerp_(g, 1 - self.betas[1])
        return changes
