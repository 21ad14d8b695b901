"""MNIST and Fashion-MNIST, read from files on disk by torchvision's own data sets."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nets.data import idx
from nets.data.batch import Batch, DataSet
from nets.data.data_sets import known_as
from nets.data.one_hot import TARGET_KINDS, encode
from nets.data.splitting import standardise
from nets.data.vision import vision_data_sets
from nets.errors import InputError
from nets.validation import one_of, seeded, whole, yes_or_no


@dataclass(frozen=True)
class ImageSet:
    """A data set of 60,000 images of 28 x 28 pixels to learn from and 10,000 held out, as their authors split them.

    Attributes:
        name: of the folder and of torchvision's data set.
    """

    name: str

    def load(
        self,
        *,
        root: str | os.PathLike[str] = "data",
        download: bool = False,
        targets: str = "classes",
        train_samples: int | None = None,
        test_samples: int | None = None,
        seed: int = 0,
    ) -> DataSet:
        """X_nj = (pixel_nj - μ_j) / σ, with the mean μ_j of each pixel and one deviation σ, both of the training images
        that are used; shape (N, 784), float32. A pixel that is blank in all of those is 0 in the held-out images, too.

        Args:
            root: folder that holds <name>/raw with the four IDX files, unpacked or as .gz.
            download: fetch files that are missing. They are moved into place when all of them have arrived.
            targets: "classes": shape (N,), int64; "signed": T_nk = +1 for the right class, -1 for the others, shape (N,
                10).
            train_samples: take only so many training images, drawn by the seed; None for all, in the order of the file.
            test_samples: the same for the held-out images.
            seed: of the images that are drawn.

        Raises:
            InputError: a file is missing, cut short, empty or not what its name says, or a download fails.
        """
        kind = one_of("targets", targets, TARGET_KINDS)
        train, test = self._read(Path(os.path.expanduser(str(root))).absolute(), yes_or_no("download", download))
        train_pixels, train_classes = _draw(train.data, train.targets, "train_samples", train_samples, seed)
        test_pixels, test_classes = _draw(test.data, test.targets, "test_samples", test_samples, seed)
        train_inputs, test_inputs = standardise(train_pixels, test_pixels, common_scale=True)
        return DataSet(
            self.name,
            Batch(train_inputs, encode(train_classes, 10, kind)),
            Batch(test_inputs, encode(test_classes, 10, kind)),
            classes=10,
            labels=tuple(train.classes),
        )

    def _read(self, root: Path, may_fetch: bool) -> tuple[Any, Any]:
        """torchvision's training and test set."""
        folder = root / self.name / "raw"
        missing = idx.missing(folder)
        if missing and not may_fetch:
            raise InputError(
                f"{self.name} was looked for in {folder}, which lacks {', '.join(missing)} (unpacked or .gz): put the "
                f"files there, set data.root to the folder that holds {self.name}/raw, or have them fetched with "
                "data.download=true."
            )
        data_set = getattr(vision_data_sets(), self.name)
        if missing:
            idx.fetch(data_set, folder)
        with idx.unpacked(self.name, folder) as unpacked:
            return data_set(unpacked, train=True), data_set(unpacked, train=False)


mnist = known_as("mnist")(ImageSet("MNIST").load)
"""Handwritten digits. Source: Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits (1998)."""

fashion_mnist = known_as("fashion_mnist")(ImageSet("FashionMNIST").load)
"""Pieces of clothing. Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST (2017), arXiv:1708.07747."""


def _draw(images: Tensor, classes: Tensor, argument: str, count: int | None, seed: int) -> tuple[Tensor, Tensor]:
    """`count` of the images as rows of numbers from 0 to 1, with their classes; all of them where it is None."""
    if count is not None:
        whole(argument, count, 1, len(images), "the files hold no more images")
        chosen = torch.randperm(len(images), generator=seeded(seed))[:count]
        images, classes = images[chosen], classes[chosen]
    return images.flatten(1).float() / 255, classes
