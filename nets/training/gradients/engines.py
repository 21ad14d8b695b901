"""The gradient of one batch by two engines that share only the forward pass.

An engine takes (network, loss, batch) and returns ℓ, a scalar tensor, and ∂ℓ/∂θ_p by the name of each parameter.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch
from nets.training.gradients.backpropagation import backpropagate
from nets.training.replay.replayed import Replayed
from nets.training.unchanged import SameParameters

GradientEngine = Callable[[Network, Loss, Batch], tuple[Tensor, dict[str, Tensor]]]


class Autograd:
    """Reverse mode by PyTorch: the forward pass records a graph, and the backward pass goes through it.

    The gradient by a parameter that the loss does not depend on is zero.
    """

    def __init__(self) -> None:
        self._parameters: SameParameters | None = None

    def __call__(self, network: Network, loss: Loss, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if self._parameters is None or not self._parameters.same(network):
            self._parameters = SameParameters(network)
        named = self._parameters.trained
        value = loss(network(batch.inputs), batch.targets)
        if not value.requires_grad:
            return value, {name: torch.zeros_like(parameter) for name, parameter in named.items()}
        found = torch.autograd.grad(value, tuple(named.values()), allow_unused=True)
        each = zip(named.items(), found, strict=True)
        return value.detach(), {name: torch.zeros_like(p) if g is None else g for (name, p), g in each}


GRADIENT_ENGINES: dict[str, Callable[[], GradientEngine]] = {
    "closed_form": lambda: Replayed(backpropagate),
    "autograd": Autograd,
}
"""The engines by the names that `descend` takes."""
