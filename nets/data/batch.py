"""The records that data arrives in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices = Tensor | NDArray[np.int64]
"""Which samples: an array of NumPy's in the memory of a processor, which is cut in a tenth of the time that a tensor is."""


@dataclass(frozen=True, slots=True)
class Batch:
    """N samples and what they should become.

    Attributes:
        inputs: X_nj, shape (N, J), floating point.
        targets: T_nk, shape (N, K), floating point; or the class of each sample, shape (N,), int64.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: Indices | slice) -> "Batch":
        """The samples at `indices`, in that order."""
        return Batch(self.inputs[indices], self.targets[indices])

    def order(self, generator: torch.Generator) -> Indices:
        """The numbers 0 to N − 1 in an order drawn at random, in the memory where the samples are."""
        drawn = torch.randperm(len(self), generator=generator)
        return drawn.numpy() if self.inputs.device.type == "cpu" else drawn.to(self.inputs.device)

    def filled_from(self, source: "Batch") -> Callable[[Indices], None]:
        """A function of indices that writes the samples of `source` there over these, as many as there are."""
        calls = [_filling(mine, theirs) for mine, theirs in ((self.inputs, source.inputs), (self.targets, source.targets))]

        def fill(indices: Indices) -> None:
            for call in calls:
                call(indices)

        return fill

    def to(self, kind: torch.dtype | torch.device) -> "Batch":
        """The same samples in another precision, in which classes stay integers, or in the memory of a device."""
        stays = isinstance(kind, torch.dtype) and not self.targets.is_floating_point()
        return Batch(self.inputs.to(kind), self.targets if stays else self.targets.to(kind))


def _filling(place: Tensor, source: Tensor) -> Callable[[Any], object]:
    if place.device.type == "cpu" and place.dtype != torch.bfloat16:
        # In a fraction of the time that index_select takes to be called; indices out of range would be clipped.
        return partial(source.resolve_neg().numpy().take, axis=0, out=place.numpy(), mode="clip")
    return lambda indices: torch.index_select(source, 0, torch.as_tensor(indices), out=place)


@dataclass(frozen=True, slots=True)
class DataSet:
    """Samples to learn from and samples held out.

    Attributes:
        name: what the data are called in messages.
        train: the batch that gradient descent sees.
        test: the batch that it never sees.
        classes: the number of classes where the targets say which class a sample belongs to (as an index, or as the
            largest of K outputs); None for regression.
        truth: the parameters that made the targets, where they are known, keyed as `named_parameters()` keys them.
        labels: what each class is called, where that is known; class c is `labels[c]`.
    """

    name: str
    train: Batch
    test: Batch
    classes: int | None = None
    truth: Mapping[str, Tensor] = field(default_factory=dict)
    labels: tuple[str, ...] = ()

    def to(self, kind: torch.dtype | torch.device) -> "DataSet":
        """The same data in another precision, or in the memory of a device."""
        truth = {name: value.to(kind) for name, value in self.truth.items()}
        return replace(self, train=self.train.to(kind), test=self.test.to(kind), truth=truth)
