"""The gradient of one batch, derived in two ways that share nothing but the forward pass.

An engine takes (network, loss, batch) and returns ℓ, a scalar tensor, and ∂ℓ/∂θ_p by the name of each parameter.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch
from nets.training.gradients.backpropagation import closed_form
from nets.training.parameters import trained
from nets.training.replay.replayed import Replayed

Engine = Callable[[Network, Loss, Batch], tuple[Tensor, dict[str, Tensor]]]


class Autograd:
    """Reverse mode by PyTorch: the graph is recorded in the forward pass and walked back."""

    def __init__(self) -> None:
        self._network: Network | None = None

    def __call__(self, network: Network, loss: Loss, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if network is not self._network:
            self._network, named = network, trained(network)
            self._names, self._parameters = tuple(named), tuple(named.values())
        value = loss(network(batch.inputs), batch.targets)
        gradients = torch.autograd.grad(value, self._parameters)
        return value.detach(), dict(zip(self._names, gradients, strict=True))


ENGINES: dict[str, Callable[[], Engine]] = {"closed_form": lambda: Replayed(closed_form), "autograd": Autograd}
"""The engines by the names that `descend` takes."""
