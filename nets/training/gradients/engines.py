"""The gradient of one batch, derived in two ways that share nothing but the forward pass.

An engine takes (network, loss, batch) and returns the loss ℓ, a scalar tensor, and ∂ℓ/∂θ under the name of each parameter.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nets.calculus.layers import ACTIVATIONS, Linear
from nets.calculus.losses import LOSSES, Loss
from nets.calculus.network import Network
from nets.data.batch import Batch
from nets.training.replay.cuda_graph import Captured, warmed
from nets.training.replay.recording import Recording

Engine = Callable[[Network, Loss, Batch], tuple[Tensor, dict[str, Tensor]]]


@torch.no_grad()
def closed_form(network: Network, loss: Loss, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Backpropagation by the layers' own derivatives, those that `nets.verify` certifies: ∂ℓ/∂θ = Σ v ∂Z/∂θ."""
    values = network.trace(batch.inputs)
    gradients: dict[str, Tensor] = {}
    for index, v in network.pulled_back(loss.gradient(values[-1], batch.targets), values):
        gradients |= named(index, network.layers[index].gradients(v, values[index], values[index + 1]))
    return loss(values[-1], batch.targets), {name: gradients[name] for name in trained(network)}


def trained(network: Network) -> dict[str, nn.Parameter]:
    """The parameters that a descent moves: all that require a gradient."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def named(index: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """By the names that the parameters of layer `index` have in the network."""
    return {f"{index}.{name}": tensor for name, tensor in tensors.items()}


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


class Replayed:
    """The closed form, its operations recorded at the first batch of each shape and repeated for the others (see `Recording`,
    and on a GPU `Captured`).

    The first batch of a shape is kept, and others of that shape are written over it, so it must be the caller's to lose. A layer or
    a loss from elsewhere may do what no recording shows, and is called each time; so is a layer with hooks.

    Args:
        function: what is recorded, of (network, loss, batch).
    """

    def __init__(self, function: Callable[[Network, Loss, Batch], Any] = closed_form) -> None:
        self._function = function
        self._recordings: dict[tuple[torch.Size, torch.Size], tuple[Batch, Recording | Captured] | None] = {}

    def __call__(self, network: Network, loss: Loss, batch: Batch) -> Any:
        shapes = (batch.inputs.shape, batch.targets.shape)
        if shapes not in self._recordings:
            self._recordings[shapes] = self._recorded(network, loss, batch)
        found = self._recordings[shapes]
        if found is None:
            return self._function(network, loss, batch)
        own, recording = found
        if own is not batch:
            own.inputs.copy_(batch.inputs)
            own.targets.copy_(batch.targets)
        recording.replay()
        return recording.result

    def _recorded(self, network: Network, loss: Loss, batch: Batch) -> tuple[Batch, Recording | Captured] | None:
        known = {Linear, *ACTIVATIONS.values()}
        hooks = any(module._forward_hooks or module._forward_pre_hooks for module in (*network.modules(), loss))
        if hooks or type(loss) not in LOSSES.values() or not all(type(layer) in known for layer in network.layers):
            return None
        record = Recording if batch.inputs.device.type == "cpu" else lambda function: Captured(warmed(function))
        try:
            return batch, record(lambda: self._function(network, loss, batch))
        except RuntimeError:  # a network that makes so much of a rounding that one way to compute it is no check of another
            return None


ENGINES: dict[str, Callable[[], Engine]] = {"closed_form": Replayed, "autograd": Autograd}
