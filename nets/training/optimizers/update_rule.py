"""The protocol of an optimizer: a rule that turns gradients into changes of the parameters, and the state that it
keeps."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from nets import torch_internals

RuleState = dict[str, list[Tensor]]
"""What a rule keeps between two updates: name → tensors, such as 'velocity' → one tensor for each parameter."""


Change = tuple[list[Tensor], float]
"""(D, scale), where Δθ_p = scale · D_p is the change that an update has made. D may be the list of the gradients
itself."""


class UpdateRule(ABC):
    """θ_p ← θ_p + Δθ_p with Δθ = step(state, θ, G), where G_p = ∂ℓ/∂θ_p.

    A rule states `init` and `step`. `apply` is derived from them, and so is `apply_fused`; a rule overrides
    `apply_fused` where it knows a faster way.

    Attributes:
        learning_rate: η. The message about a descent that diverges names it.
    """

    learning_rate: float

    @abstractmethod
    def init(self, parameters: list[Tensor]) -> RuleState:
        """The state before the first update. Tensors have the device of the parameters."""

    @abstractmethod
    def step(self, state: RuleState, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Δθ_p for each parameter p, in its shape and precision. The parameters and the gradients stay as they are.

        The tensors of `state` are updated in place: a CUDA graph and a saved state find them where they were. For the
        same reason a counter of updates is a tensor, too.
        """

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
            changes = self.step(state, parameters, gradients)
        else:
            before = {name: [tensor.clone() for tensor in tensors] for name, tensors in state.items()}
            proposed = self.step(state, parameters, gradients)
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
