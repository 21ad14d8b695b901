"""‖∂ℓ_n/∂θ_p‖ of every sample n, the norm of its own gradient."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from nets.calculus.composite import NormsByName
from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.calculus.norms import row_norms
from nets.calculus.parameters import add_by_name
from nets.data.batch import Batch
from nets.errors import InputError
from nets.records.sample_norms import SampleNorms
from nets.text import one_line
from nets.training.gradients.engines import Autograd
from nets.training.parameters import trained
from nets.training.replay.replayed import Replayed

SampledEngine = Callable[[Network, Loss, Batch], tuple[Tensor, dict[str, Tensor], Tensor]]
"""An engine that also returns ‖∂ℓ_n/∂θ_p‖, shape (P, N), with ℓ_n the loss of sample n alone."""


@torch.no_grad()
def backpropagate_with_norms(network: Network, loss: Loss, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """∂ℓ/∂θ = Σ_n Σ_i v_ni ∂Z_ni/∂θ and the norm of each term of the sum over n, from one backward pass.

    ℓ = 1/C Σ_n C_n ℓ_n for a mean, so a term is C_n/C ∂ℓ_n/∂θ. C_n depends on the targets. The caller divides by it,
    since the operations here are recorded once. A layer with its own `Layer.sample_norms` forms no gradient of a single
    sample.

    Returns:
        ℓ; ∂ℓ/∂θ_p by name; and the norms of the terms, shape (P, N).
    """
    values = network.trace(batch.inputs)
    gradients, names = dict[str, Tensor](), network.names_by_part()
    norms = NormsByName(network.shared_parameters())
    for part, layer, *at in network.visits_along(loss.gradient(values[-1], batch.targets), values):
        add_by_name(gradients, names[part], layer.checked_gradients(*at))
        norms.add(names[part], layer, at)
    moved, each = list(trained(network)), norms.norms()
    found = torch.stack([each[name] for name in moved])
    return loss(values[-1], batch.targets), {name: gradients[name] for name in moved}, found


class ClosedFormNorms:
    """The closed form, recorded."""

    def __init__(self) -> None:
        self._replayed = Replayed(backpropagate_with_norms)

    def __call__(self, network: Network, loss: Loss, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        value, gradients, terms = self._replayed(network, loss, batch)
        if loss.reduction == "sum":
            return value, gradients, terms.clone()
        counted, counts = loss.counted(batch.targets), loss.counts(batch.targets)
        terms = terms * counted
        return value, gradients, terms if counts is None else terms / counts.clamp(min=1)


class VectorisedAutograd:
    """Reverse mode by PyTorch for each sample, in one vectorised call."""

    def __init__(self) -> None:
        self._engine = Autograd()

    def __call__(self, network: Network, loss: Loss, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        def of_one(parameters: dict[str, Tensor], x: Tensor, target: Tensor) -> Tensor:
            return loss(functional_call(network, parameters, (x[None],)), target[None])

        parameters = {name: parameter.detach() for name, parameter in trained(network).items()}
        try:
            each = vmap(grad(of_one), (None, 0, 0))(parameters, batch.inputs, batch.targets)
        except RuntimeError as error:  # a layer branches on a number, or writes to a buffer
            raise InputError(
                f"engine='autograd' with sample_norms=True was given a network that torch.func.vmap cannot take sample "
                f"by sample ({one_line(error)}); expected one without in-place writes and decisions by numbers: set "
                "engine='closed_form'."
            ) from error
        value, gradients = self._engine(network, loss, batch)
        return value, gradients, torch.stack([row_norms(g.reshape(len(g), -1)) for g in each.values()])


SAMPLED: dict[str, Callable[[], SampledEngine]] = {"closed_form": ClosedFormNorms, "autograd": VectorisedAutograd}
"""The engines with sample norms by the names that `descend` takes."""


class SampleNormEngine:
    """An engine that collects the norms of the samples until `take` returns them.

    Args:
        engine: 'closed_form' or 'autograd'.
    """

    def __init__(self, engine: str) -> None:
        self._engine, self._norms, self._count, self._summed = SAMPLED[engine](), list[Tensor](), 0, False
        self._tokens = list[Tensor]()

    def __call__(self, network: Network, loss: Loss, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        value, gradients, norms = self._engine(network, loss, batch)
        self._norms.append(norms)
        counts = loss.counts(batch.targets)
        if counts is None:
            self._count += loss.counted(batch.targets)
        else:
            self._tokens.append(counts[counts > 0])
            self._count += len(self._tokens[-1])
        self._summed = loss.reduction == "sum"
        return value, gradients

    def take(self, names: tuple[str, ...]) -> SampleNorms:
        """The norms of all samples since the last call.

        Args:
            names: of the parameters, in their order.
        """
        even = self._summed or not self._tokens or len(torch.cat(self._tokens).unique()) <= 1
        norms = self._norms[0] if len(self._norms) == 1 else torch.cat(self._norms, 1)
        taken = SampleNorms(names, norms, self._count, self._summed, even)
        self._norms, self._tokens, self._count = [], [], 0
        return taken
