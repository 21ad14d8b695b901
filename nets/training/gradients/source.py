"""The protocol between `descend` and whatever gives it the gradient of a batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch
from nets.records.contributions import Accumulation
from nets.records.sample_norms import SampleNorms
from nets.training.parameters import check_like, trained
from nets.validation import refusal


@dataclass(frozen=True, slots=True)
class GradientSpec:
    """What a gradient source must compute for `descend`.

    Attributes:
        network: is differentiated by those of its parameters that require a gradient.
        loss: ℓ.
        engine: the name of an engine, see `nets.training.gradients.engines`.
        micro_batch_size: samples in a micro-batch; None for the whole batch.
        sample_norms: whether to compute the norm of each sample's own gradient.
    """

    network: Network
    loss: Loss
    engine: str
    micro_batch_size: int | None
    sample_norms: bool


class BatchGradient(NamedTuple):
    """The gradient of one batch.

    Attributes:
        loss: ℓ, a scalar tensor.
        gradients: ∂ℓ/∂θ_p by the name of each parameter, in the order of the network. The same dictionary means the
            same memory.
        accumulation: the contributions that were summed.
        sample_norms: the norm of each sample's own gradient, if the spec asks for it.
    """

    loss: Tensor
    gradients: dict[str, Tensor]
    accumulation: Accumulation
    sample_norms: SampleNorms | None = None


GradientFunction = Callable[[Batch], BatchGradient]
"""The gradient of a batch. A call may overwrite the result of the previous one."""


@runtime_checkable
class GradientSource(Protocol):
    """Gives the gradient of a batch: from micro-batches, from the ranks of a run, or from a loop with a mistake."""

    def prepare(self, spec: GradientSpec) -> GradientFunction:
        """A function that returns the gradient of each batch of a descent.

        Raises:
            InputError: if the source cannot give what the spec asks for.
        """
        ...


def prepared(source: GradientSource, spec: GradientSpec) -> GradientFunction:
    """The gradient function of any source. Each gradient that it returns is checked.

    Raises:
        InputError: if the source returns something else than a `BatchGradient` of the trained parameters.
    """
    name, parameters = type(source).__name__, trained(spec.network)
    gradient_of = source.prepare(spec)
    if not callable(gradient_of):
        raise refusal(f"the result of {name}.prepare", gradient_of, "a function batch → BatchGradient", "return one")

    def checked(batch: Batch) -> BatchGradient:
        found: Any = gradient_of(batch)
        if not isinstance(found, BatchGradient) or not isinstance(found.accumulation, Accumulation):
            remedy = "return BatchGradient(loss, gradients, single_contribution(len(batch))), for example"
            raise refusal(f"the gradient of {name}", found, "a BatchGradient with an Accumulation", remedy)
        if not isinstance(found.loss, Tensor) or found.loss.numel() != 1:
            raise refusal(f"the loss of {name}", found.loss, "a tensor with one number", "return ℓ of the batch")
        if not isinstance(found.gradients, dict) or list(found.gradients) != list(parameters):
            expected = f"a dict with the keys {', '.join(parameters)}"
            raise refusal(f"the dict of gradients of {name}", found.gradients, expected, "keep this order")
        for parameter, gradient in found.gradients.items():
            check_like(f"the gradient of {parameter} by {name}", gradient, parameters[parameter])
        return found

    return checked
