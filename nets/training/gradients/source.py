"""The protocol between `descend` and whatever gives it the gradient of a batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch
from nets.records.contributions import Accumulation
from nets.records.sample_norms import SampleNorms


@dataclass(frozen=True, slots=True)
class GradientSpec:
    """What `descend` asks of a gradient source.

    Attributes:
        network: is differentiated by those of its parameters that require a gradient.
        loss: ℓ.
        engine: the name of an engine, see `nets.training.gradients.engines`.
        micro_batch_size: samples in a micro-batch; None for the whole batch.
        sample_norms: whether the norm of each sample's own gradient is asked for.
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
        samples: the norm of each sample's own gradient, where it was asked for.
    """

    loss: Tensor
    gradients: dict[str, Tensor]
    accumulation: Accumulation
    samples: SampleNorms | None = None


GradientFunction = Callable[[Batch], BatchGradient]
"""The gradient of a batch. It may overwrite what it returned for the last one."""


@runtime_checkable
class GradientSource(Protocol):
    """Gives the gradient of a batch: from micro-batches, from the ranks of a run, or from a loop with a mistake."""

    def prepare(self, spec: GradientSpec) -> GradientFunction:
        """A function that returns the gradient of each batch of a descent.

        Raises:
            InputError: if the source cannot give what the spec asks for.
        """
        ...
