"""Rules whose Δθ a fused kernel of PyTorch computes."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from nets import torch_internals
from nets.training.optimizers.update_rule import Change, DecayingRule, LearningRate, RuleState, zeros
from nets.validation import number, refusal


class KernelRule(DecayingRule):
    """A rule that a fused kernel of PyTorch implements. The kernel adds Δθ to θ and reads and writes each number once.

    The record needs ‖Δθ_p‖. So the kernel is given zeros in place of θ, and Δθ is what it leaves there. The weight
    decay, which reads θ, is added outside of the kernel: to the gradients, or to Δθ where it is decoupled.

    A subclass states `init_moments`, `step` and `run`.

    Args:
        learning_rate, weight_decay: see `DecayingRule`.
        kernel: of PyTorch; None if this release of PyTorch does not have it.

    Raises:
        InputError: for a number out of range.
    """

    scratch = frozenset({"change"})

    def __init__(self, learning_rate: LearningRate, weight_decay: float, kernel: Callable[..., None] | None) -> None:
        super().__init__(learning_rate, weight_decay)
        self._kernel = kernel

    @abstractmethod
    def init_moments(self, parameters: list[Tensor]) -> RuleState:
        """The state of the rule before the first update."""

    @abstractmethod
    def run(self, kernel: Callable[..., None], state: RuleState, gradients: list[Tensor], skip: Tensor | None) -> None:
        """Call the kernel: `state` is updated, and Δθ_p without decoupled decay is added to state['change']."""

    def init(self, parameters: list[Tensor]) -> RuleState:
        """The moments, the number of updates made, and memory for Δθ.

        The kernels count in single precision, which is exact up to 2^24 updates.
        """
        counter = torch.zeros((), dtype=torch.float32, device=parameters[0].device)
        return {**self.init_moments(parameters), "updates": [counter], "change": zeros(parameters)}

    def apply_fused(
        self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor], skip: Tensor | None = None
    ) -> Change:
        """The same update by the kernel. The kernel is not used where η is a tensor, or where `skip` is given and λ θ
        must be added."""
        rate, change = self.rate, state["change"]
        decouples = self.decoupled and self.weight_decay > 0
        if self._kernel is None or isinstance(rate, Tensor) or (decouples and skip is not None):
            return self.apply(state, parameters, gradients, skip)
        torch_internals.zero(change)
        state["updates"][0].add_(1 if skip is None else 1 - skip)
        self.run(self._kernel, state, self.decayed(parameters, gradients), skip)
        if decouples:
            torch_internals.add(change, parameters, -rate * self.weight_decay)
        torch_internals.add(parameters, change, 1.0)
        return change, 1.0


def fractions(name: str, values: object) -> tuple[float, float]:
    """Two numbers from 0 up and below 1, such as the β₁ and β₂ of moving averages."""
    if not isinstance(values, list | tuple) or len(values) != 2:
        raise refusal(name, values, "two numbers, each from 0 up and below 1")
    first, second = (number(f"{name}[{place}]", value, least=0, below=1) for place, value in enumerate(values))
    return first, second
