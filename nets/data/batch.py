"""The records that data arrives in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


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

    def take(self, indices: "Tensor | slice") -> "Batch":
        """The samples at `indices`, in that order."""
        return Batch(self.inputs[indices], self.targets[indices])

    def filled_from(self, source: "Batch") -> Callable[[Tensor], None]:
        """A function of indices that writes the samples of `source` there over these, as many as there are."""
        pairs = ((self.inputs, source.inputs), (self.targets, source.targets))
        if self.inputs.device.type != "cpu":

            def selected(indices: Tensor) -> None:
                for mine, theirs in pairs:
                    torch.index_select(theirs, 0, indices, out=mine)

            return selected
        arrays = [(mine.numpy(), theirs.numpy()) for mine, theirs in pairs]

        def taken(indices: Tensor) -> None:
            at = indices.numpy()
            for mine, theirs in arrays:
                # In a fraction of the time that index_select takes to be called; indices out of range would be clipped.
                theirs.take(at, 0, mine, "clip")

        return taken

    def to(self, kind: torch.dtype | torch.device) -> "Batch":
        """The same samples in another precision, in which classes stay integers, or in the memory of a device."""
        stays = isinstance(kind, torch.dtype) and not self.targets.is_floating_point()
        return Batch(self.inputs.to(kind), self.targets if stays else self.targets.to(kind))


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
