"""What each sample contributes to a gradient: ‖∂ℓ_n/∂θ‖ of every sample n, without a gradient for each of them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.calculus.norms import row_norms
from nets.data.batch import Batch
from nets.records.sample_norms import SampleNorms
from nets.training.gradients.engines import Autograd, Replayed, named, trained

Sampled = Callable[[Network, Loss, Batch], tuple[Tensor, dict[str, Tensor], Tensor]]
"""As an engine, and after the gradients ‖∂ℓ_n/∂θ_p‖, shape (P, N)."""


@torch.no_grad()
def closed_form(network: Network, loss: Loss, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """One walk through the layers' own derivatives serves both: ∂ℓ/∂θ = Σ v ∂Z/∂θ, and the norm of each term of that sum."""
    values = network.trace(batch.inputs)
    gradients, norms = dict[str, Tensor](), dict[str, Tensor]()
    for index, v in network.pulled_back(loss.gradient(values[-1], batch.targets), values):
        layer = network.layers[index]
        gradients |= named(index, layer.gradients(v, values[index], values[index + 1]))
        norms |= named(index, layer.sample_norms(v, values[index], values[index + 1]))
    names = list(trained(network))
    found = torch.stack([norms[name] for name in names]) * _share(loss, batch)
    return loss(values[-1], batch.targets), {name: gradients[name] for name in names}, found


class Vectorised:
    """Reverse mode by PyTorch for each sample by itself, in one call for all of them."""

    def __init__(self) -> None:
        self._engine = Autograd()

    def __call__(self, network: Network, loss: Loss, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        def of_one(parameters: dict[str, Tensor], x: Tensor, target: Tensor) -> Tensor:
            return loss(functional_call(network, parameters, (x[None],)), target[None])

        parameters = {name: parameter.detach() for name, parameter in trained(network).items()}
        each = vmap(grad(of_one), (None, 0, 0))(parameters, batch.inputs, batch.targets)
        value, gradients = self._engine(network, loss, batch)
        return value, gradients, torch.stack([row_norms(g.flatten(1)) for g in each.values()])


SAMPLED: dict[str, Callable[[], Sampled]] = {"closed_form": lambda: Replayed(closed_form), "autograd": Vectorised}


class Sampler:
    """An engine that keeps the norms of the samples aside, until somebody takes them.

    Args:
        engine: 'closed_form' or 'autograd'.
    """

    def __init__(self, engine: str) -> None:
        self._engine, self._norms, self._count, self._summed = SAMPLED[engine](), list[Tensor](), 0, False

    def __call__(self, network: Network, loss: Loss, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        value, gradients, norms = self._engine(network, loss, batch)
        self._norms.append(norms.clone())  # the next batch of that shape is written over them
        self._count += loss.counted(batch.targets)
        self._summed = loss.reduction == "sum"
        return value, gradients

    def take(self, names: tuple[str, ...]) -> SampleNorms:
        """Those of all samples since the last call; `names` of the parameters, in their order."""
        taken = SampleNorms(names, torch.cat(self._norms, 1), self._count, self._summed)
        self._norms, self._count = [], 0
        return taken


def _share(loss: Loss, batch: Batch) -> int:
    """ℓ_n over what it is in ℓ."""
    return loss.counted(batch.targets) if loss.reduction == "mean" else 1
