"""The gradient of one batch, derived in two ways that share nothing but the forward pass.

An engine takes (network, loss, batch) and returns the loss ℓ, a scalar tensor, and ∂ℓ/∂θ under the name of each parameter.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nets.calculus.layers import ACTIVATIONS, Linear
from nets.calculus.losses import LOSSES, Loss
from nets.calculus.network import Network
from nets.data.batch import Batch
from nets.training.recording import Recording

Engine = Callable[[Network, Loss, Batch], tuple[Tensor, dict[str, Tensor]]]


@torch.no_grad()
def closed_form(network: Network, loss: Loss, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Backpropagation by the layers' own derivatives, those that `nets.verify` certifies: v = ∂ℓ/∂Y, then layer by layer
    ∂ℓ/∂θ = Σ v ∂Z/∂θ and v ← Σ v ∂Z/∂X."""
    values = network.trace(batch.inputs)
    v = loss.gradient(values[-1], batch.targets)
    gradients: dict[str, Tensor] = {}
    for index in reversed(range(len(network))):
        layer, x, y = network.layers[index], values[index], values[index + 1]
        gradients |= {f"{index}.{name}": gradient for name, gradient in layer.gradients(v, x).items()}
        # Nobody asks for ∂ℓ/∂X of the first layer.
        v = layer.pullback(v, x, y) if index else v
    return loss(values[-1], batch.targets), {name: gradients[name] for name, _ in network.named_parameters()}


class Autograd:
    """Reverse mode by PyTorch: the graph is recorded in the forward pass and walked back."""

    def __init__(self) -> None:
        self._network: Network | None = None

    def __call__(self, network: Network, loss: Loss, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if network is not self._network:
            self._network, named = network, dict(network.named_parameters())
            self._names, self._parameters = tuple(named), tuple(named.values())
        value = loss(network(batch.inputs), batch.targets)
        gradients = torch.autograd.grad(value, self._parameters)
        return value.detach(), dict(zip(self._names, gradients, strict=True))


class Replayed:
    """The closed form, its operations recorded at the first batch of each shape and repeated for the others (see `Recording`).

    The first batch of a shape is kept, and others of that shape are written over it, so it must be the caller's to lose. A layer or
    a loss from elsewhere may do what no recording shows, and is called each time; so is a layer with hooks.
    """

    def __init__(self) -> None:
        self._recordings: dict[tuple[torch.Size, torch.Size], tuple[Batch, Recording] | None] = {}

    def __call__(self, network: Network, loss: Loss, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        shapes = (batch.inputs.shape, batch.targets.shape)
        if shapes not in self._recordings:
            self._recordings[shapes] = self._recorded(network, loss, batch)
        found = self._recordings[shapes]
        if found is None:
            return closed_form(network, loss, batch)
        own, recording = found
        if own is not batch:
            own.inputs.copy_(batch.inputs)
            own.targets.copy_(batch.targets)
        recording.replay()
        return recording.result

    @staticmethod
    def _recorded(network: Network, loss: Loss, batch: Batch) -> tuple[Batch, Recording] | None:
        known = {Linear, *ACTIVATIONS.values()}
        hooks = any(module._forward_hooks or module._forward_pre_hooks for module in (*network.modules(), loss))
        if hooks or type(loss) not in LOSSES.values() or not all(type(layer) in known for layer in network.layers):
            return None
        return batch, Recording(lambda: closed_form(network, loss, batch))


ENGINES: dict[str, Callable[[], Engine]] = {"closed_form": Replayed, "autograd": Autograd}
