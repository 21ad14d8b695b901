"""Held-out samples, and standardisation by the training samples."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nets.errors import InputError
from nets.validation import number, seeded


def split(
    samples: int, test_fraction: float, seed: int, labels: Int64[Tensor, " n"] | None = None
) -> tuple[Int64[Tensor, " n_train"], Int64[Tensor, " n_test"]]:
    """Indices of the training samples and of the held-out samples: disjoint, together all of 0 … N-1, each in random
    order.

    M = round(test_fraction · N) samples are held out, at least one, and at least two are left to learn from. With
    `labels`, every class gives its share of them to within one sample: the shuffled samples are sorted by class, and
    the p-th is held out where ⌊(p+1)M/N⌋ > ⌊pM/N⌋.

    Args:
        samples: N.
        test_fraction: between 0 and 1, both excluded.
        seed: of the generator that shuffles.
        labels: the class of each sample, shape (N,), int64.

    Returns:
        (train, test), int64, shapes (N - M,) and (M,).

    Raises:
        InputError: fewer than three samples, or a fraction out of range.
    """
    fraction = number("test_fraction", test_fraction, above=0, below=1, remedy="write 0.2, for example")
    if samples < 3:
        raise InputError(
            f"{samples} sample{'' if samples == 1 else 's'} cannot be split: at least 3 are expected,"
            " two to learn from and one to hold out."
        )
    shuffled = torch.randperm(samples, generator=seeded(seed))
    in_classes = shuffled if labels is None else shuffled[torch.argsort(labels[shuffled], stable=True)]
    count = min(max(round(fraction * samples), 1), samples - 2)
    position = torch.arange(samples)
    held_out = torch.zeros(samples, dtype=torch.bool)
    held_out[in_classes] = (position + 1) * count // samples > position * count // samples
    # Taken in shuffled order, so that the first samples of a part are not all of one class.
    return shuffled[~held_out[shuffled]], shuffled[held_out[shuffled]]


def standardise(
    train: Float[Tensor, "n j"], test: Float[Tensor, "m j"], *, common_scale: bool = False
) -> tuple[Float[Tensor, "n j"], Float[Tensor, "m j"]]:
    """(x - μ_j) / σ_j with the mean μ_j and deviation σ_j of each column over the training part alone.

    A column that is constant over the training part becomes 0 in both parts.

    Args:
        train: shape (N, J), floating point and finite.
        test: shape (M, J).
        common_scale: divide by one σ = (mean of (x - μ_j)² over all samples and columns)^½. For the pixels of a
            picture: pixels that are nearly always blank would get a huge factor otherwise.

    Returns:
        (train, test), float32, of the same shapes.
    """
    mean = train.mean(0, dtype=torch.float64)
    centred = train - mean.to(train.dtype)
    variance = centred.square().mean(0, dtype=torch.float64)
    # Columns are compared for equality: the mean of equal numbers is rounded, so their deviation is seldom exactly 0.
    constant = (train.amin(0) == train.amax(0)) | (variance == 0)
    if common_scale:
        variance = variance.mean().expand_as(variance)
    scale = torch.where(constant, 0.0, variance.where(~constant, 1.0).rsqrt()).to(train.dtype)
    return (centred * scale).float(), ((test - mean.to(test.dtype)) * scale).float()
