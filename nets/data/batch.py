"""Samples with their targets, and a data set of two such batches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices = Tensor | NDArray[np.int64]
"""Indices of samples. On the CPU they are a NumPy array, which is sliced in a tenth of the time of a tensor."""


@dataclass(frozen=True, slots=True)
class Batch:
    """N samples and their targets.

    Attributes:
        inputs: X_nj, shape (N, J), floating point; or the tokens of each sample, shape (N, T), int64.
        targets: T_nk, shape (N, K), floating point; or the class of each sample, shape (N,), or of each token, (N, T),
            int64.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return self.inputs.shape[0]  # the length of a tensor takes a microsecond longer

    def take(self, indices: Indices | slice) -> "Batch":
        """The samples at `indices`, in that order."""
        return Batch(self.inputs[indices], self.targets[indices])

    def split(self, size: int) -> "list[Batch]":
        """Micro-batches of `size` samples, the last one possibly shorter: views of this memory."""
        return [self.take(slice(start, start + size)) for start in range(0, len(self), size)]

    def spread(self, count: int | None) -> "Batch":
        """At most so many samples, at equal distances beginning with the first; all of them if `count` is None."""
        if count is None or count >= len(self):
            return self
        return self.take(torch.arange(count, device=self.inputs.device) * len(self) // count)

    def orders(self, generator: torch.Generator) -> Callable[[], Indices]:
        """A function that draws a permutation of 0 … N − 1 at each call, on the device of the samples. On the CPU each
        overwrites the last."""
        drawn, here = torch.empty(len(self), dtype=torch.int64), self.inputs.device
        draw = partial(torch.randperm, len(self), generator=generator, out=drawn)
        if here.type != "cpu":
            return lambda: draw().to(here)
        order = drawn.numpy()

        def ordered() -> Indices:
            draw()
            return order

        return ordered

    def filled_from(self, source: "Batch") -> Callable[[Indices], None]:
        """A function that copies the samples of `source` at given indices, N of them, into this batch."""
        calls = [
            _filling(mine, theirs) for mine, theirs in ((self.inputs, source.inputs), (self.targets, source.targets))
        ]

        def fill(indices: Indices) -> None:
            for call in calls:
                call(indices)

        return fill

    def to(self, kind: torch.dtype | torch.device) -> "Batch":
        """The same samples in another precision or on another device. Tokens and classes stay integers."""
        inputs, targets = (
            part if isinstance(kind, torch.dtype) and not part.is_floating_point() else part.to(kind)
            for part in (self.inputs, self.targets)
        )
        return Batch(inputs, targets)


def _filling(place: Tensor, source: Tensor) -> Callable[[Any], object]:
    if place.device.type == "cpu" and place.dtype != torch.bfloat16:
        # A fraction of the time of index_select. Indices out of range would be clipped; the caller gives none.
        return partial(source.resolve_neg().numpy().take, axis=0, out=place.numpy(), mode="clip")
    return lambda indices: torch.index_select(source, 0, torch.as_tensor(indices), out=place)


@dataclass(frozen=True, slots=True)
class DataSet:
    """Training samples and held-out samples.

    Attributes:
        name: the name in messages.
        train: the training samples.
        test: the held-out samples.
        classes: the number of classes, where the targets are classes (an index, or the largest of K outputs); None for
            regression.
        truth: the parameters that made the targets, where they are known, under the names of `named_parameters()`.
        labels: the name of each class c, `labels[c]`, where it is known.
        counted: the name of what has a class: 'samples', or 'characters' of samples that are text.
    """

    name: str
    train: Batch
    test: Batch
    classes: int | None = None
    truth: Mapping[str, Tensor] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    counted: str = "samples"

    def continued(self, network: Callable[[Tensor], Tensor], generator: torch.Generator) -> str:
        """A text that the network continues, if the samples are text, else ''."""
        return ""

    def to(self, kind: torch.dtype | torch.device) -> "DataSet":
        """The same data in another precision or on another device."""
        truth = {name: value.to(kind) for name, value in self.truth.items()}
        return replace(self, train=self.train.to(kind), test=self.test.to(kind), truth=truth)
