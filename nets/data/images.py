"""MNIST and Fashion-MNIST, read from files on disk by torchvision's own data sets."""

import os
from pathlib import Path

import torch
from torch import Tensor

from nets.data import idx
from nets.data.batch import Batch, DataSet
from nets.data.one_hot import KINDS, encode
from nets.data.splitting import standardise
from nets.data.vision import vision_data_sets
from nets.errors import InputError
from nets.validation import one_of, seeded, whole, yes_or_no


def mnist(
    *,
    root: str | os.PathLike[str] = "data",
    download: bool = False,
    targets: str = "classes",
    train_samples: int | None = None,
    test_samples: int | None = None,
    seed: int = 0,
) -> DataSet:
    """Handwritten digits of 28 x 28 pixels: 60,000 to learn from and 10,000 held out, as their authors split them.

    X_nj = (pixel_nj - μ_j) / σ, with the mean μ_j of each pixel and one deviation σ, both of the training images that
    are used; shape (N, 784), float32. A pixel that is blank in all of those is 0 in the held-out images, too.

    Args:
        root: folder that holds MNIST/raw with the four IDX files, unpacked or as .gz.
        download: fetch files that are missing. They are moved into place when all of them have arrived.
        targets: "classes": shape (N,), int64; "signed": T_nk = +1 for the right class, -1 for the others, shape (N,
            10).
        train_samples: take only so many training images, drawn by the seed; None for all, in the order of the file.
        test_samples: likewise of the held-out images.
        seed: decides which are drawn.

    Raises:
        InputError: a file is missing, cut short, empty or not what its name says, or a download fails.

    Source: Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits (1998).
    """
    return _images("MNIST", root, download, targets, (train_samples, test_samples), seed)


def fashion_mnist(
    *,
    root: str | os.PathLike[str] = "data",
    download: bool = False,
    targets: str = "classes",
    train_samples: int | None = None,
    test_samples: int | None = None,
    seed: int = 0,
) -> DataSet:
    """Pieces of clothing in the format of `mnist`, with the same arguments and errors; the files lie in
    FashionMNIST/raw.

    Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST (2017), arXiv:1708.07747.
    """
    return _images("FashionMNIST", root, download, targets, (train_samples, test_samples), seed)


def _images(
    name: str,
    root: str | os.PathLike[str],
    download: bool,
    targets: str,
    counts: tuple[int | None, int | None],
    seed: int,
) -> DataSet:
    kind = one_of("targets", targets, KINDS)
    may_fetch = yes_or_no("download", download)
    folder = Path(os.path.expanduser(str(root))).absolute() / name / "raw"
    missing = idx.missing(folder)
    if missing and not may_fetch:
        raise InputError(
            f"{name} was looked for in {folder}, which lacks {', '.join(missing)} (unpacked or .gz): put the files"
            f" there, set data.root to the folder that holds {name}/raw, or have them fetched with data.download=true."
        )
    data_set = getattr(vision_data_sets(), name)
    if missing:
        idx.fetch(data_set, folder)
    with idx.unpacked(name, folder) as unpacked:
        train, test = data_set(unpacked, train=True), data_set(unpacked, train=False)
    train_pixels, train_classes = _draw(train.data, train.targets, "train_samples", counts[0], seed)
    test_pixels, test_classes = _draw(test.data, test.targets, "test_samples", counts[1], seed)
    train_inputs, test_inputs = standardise(train_pixels, test_pixels, common_scale=True)
    return DataSet(
        name,
        Batch(train_inputs, encode(train_classes, 10, kind)),
        Batch(test_inputs, encode(test_classes, 10, kind)),
        classes=10,
        labels=tuple(train.classes),
    )


def _draw(images: Tensor, classes: Tensor, argument: str, count: int | None, seed: int) -> tuple[Tensor, Tensor]:
    """`count` of the images as rows of numbers from 0 to 1, with their classes; all of them where it is None."""
    if count is not None:
        whole(argument, count, 1, len(images), "the files hold no more images")
        chosen = torch.randperm(len(images), generator=seeded(seed))[:count]
        images, classes = images[chosen], classes[chosen]
    return images.flatten(1).float() / 255, classes
