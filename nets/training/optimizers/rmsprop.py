"""RMSprop: gradients over the root of the mean of their squares."""

from torch import Tensor

from nets.training.optimizers.update_rule import DecayingRule, LearningRate, RuleState, zeros
from nets.validation import number, yes_or_no


class RMSprop(DecayingRule, known_as="rmsprop"):
    """V ← α V + (1 − α) G², B ← μ B + G / (√V + ε), Δθ = −η B, as in `torch.optim.RMSprop`.

    Centered: M ← α M + (1 − α) G, and V − M² takes the place of V under the root. V = M = B = 0 before the
    first update.
    With λ, G + λ θ takes the place of G.

    Sources: Tieleman, Hinton, "Lecture 6.5: rmsprop", Coursera (2012); Graves, "Generating sequences with recurrent
    neural networks", arXiv:1308.0850, eq. 38 to 45, centered and with momentum.

    Args:
        alpha: α, from 0 up and below 1.
        epsilon: ε, above 0.
        momentum: μ, from 0 up and below 1.
        centered: whether M² is subtracted.
        learning_rate, weight_decay: η and λ, see `DecayingRule`.

    Raises:
        InputError: for a number out of range, and a `centered` that is neither True nor False.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1e-2,
        alpha: float = 0.99,
        epsilon: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate, weight_decay)
        self.alpha = number("alpha", alpha, least=0, below=1)
        self.epsilon = number("epsilon", epsilon, above=0)
        self.momentum = number("momentum", momentum, least=0, below=1)
        self.centered = yes_or_no("centered", centered)

    def init(self, parameters: list[Tensor]) -> RuleState:
        """V = 0; M = 0 if centered, B = 0 with momentum."""
        names = {"square": True, "mean": self.centered, "velocity": self.momentum > 0}
        return {name: zeros(parameters) for name, used in names.items() if used}

    def step(self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Δθ = −η B, after B ← μ B + G / (√V + ε)."""
        changes = []
        directions = self.decayed(parameters, gradients)
        for place, (v, direction) in enumerate(zip(state["square"], directions, strict=True)):
            v.mul_(self.alpha).addcmul_(direction, direction, value=1 - self.alpha)
            variance = v
            if self.centered:
                mean = state["mean"][place].lerp_(direction, 1 - self.alpha)
                variance = v.addcmul(mean, mean, value=-1)
            change = direction / variance.sqrt().add_(self.epsilon)
            if self.momentum:
                change = state["velocity"][place].mul_(self.momentum).add_(change)
            changes.append(-self.rate * change)
        return changes
