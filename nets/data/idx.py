"""The four IDX files of an MNIST-like data set: found, fetched, unpacked and checked.

An IDX file of unsigned bytes is the four bytes 00 00 08 d, the lengths of its d axes as big-endian 32-bit numbers, and
the bytes themselves.
"""

import gzip
import math
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from nets.errors import InputError

IMAGES = {part: f"{part}-images-idx3-ubyte" for part in ("train", "t10k")}
LABELS = {part: f"{part}-labels-idx1-ubyte" for part in ("train", "t10k")}
FILES = (*IMAGES.values(), *LABELS.values())
SIDE = 28
CLASSES = 10
_REPLACE = "delete it, and put a whole copy there or run with data.download=true"


def missing(folder: Path) -> list[str]:
    """The names of the files that are not in `folder`, neither unpacked nor as .gz."""
    return [file for file in FILES if _find(folder, file) is None]


def _find(folder: Path, file: str) -> Path | None:
    return next((path for path in (folder / file, folder / f"{file}.gz") if path.is_file()), None)


def fetch(data_set: Any, folder: Path) -> None:
    """Download the files that are missing in `folder`, with the mirrors and checksums of the torchvision class
    `data_set`.

    The files are downloaded to a temporary folder and moved when all are complete, so that an interrupted download
    leaves no partial file.

    Raises:
        InputError: the download failed, or the folder cannot be written.
    """
    name = data_set.__name__
    root = folder.parent.parent
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as temporary:
            data_set(temporary, download=True)
            folder.mkdir(parents=True, exist_ok=True)
            for file in missing(folder):
                os.replace(Path(temporary) / name / "raw" / file, folder / file)
    # torchvision reports a mirror that fails as RuntimeError; URLError is an OSError.
    except (RuntimeError, OSError, EOFError, zlib.error, HTTPException) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise InputError(
            f"{name} could not be downloaded into {folder} ({reason}): try again with a network, or put"
            f" {', '.join(FILES)} there by hand."
        ) from error


@contextmanager
def unpacked(name: str, folder: Path) -> Iterator[str]:
    """A temporary root as torchvision expects one, of checked files. Nothing is written into the user's own folder.

    Raises:
        InputError: a file is damaged, or not what its name says.
    """
    with tempfile.TemporaryDirectory(prefix="nets-") as root:
        raw = Path(root) / name / "raw"
        raw.mkdir(parents=True)
        for part in IMAGES:
            images = _unpack(folder, IMAGES[part], raw, (SIDE, SIDE))
            labels = _unpack(folder, LABELS[part], raw, ())
            if images != labels:
                raise InputError(
                    f"{folder} holds {images} images in {IMAGES[part]} but {labels} labels in {LABELS[part]}, where"
                    " each image needs one: the two are not of one data set, so replace both."
                )
        yield root


def _unpack(folder: Path, file: str, raw: Path, sample: tuple[int, ...]) -> int:
    """Puts the plain file into `raw`; returns how many samples of the shape `sample` it holds."""
    source = _find(folder, file) or folder / file
    opened: Any = gzip.open if source.suffix == ".gz" else open
    try:
        with opened(source, "rb") as packed, open(raw / file, "wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{source} is cut short or no gzip file ({error}): {_REPLACE}.") from error
    except OSError as error:
        raise InputError(f"{source} could not be read ({error.strerror or error}): mend that and run again.") from error
    return _count(source, raw / file, sample)


def _count(source: Path, plain: Path, sample: tuple[int, ...]) -> int:
    """The number of samples. Raises InputError unless magic number, lengths of the axes and size of the file agree.

    torchvision compares neither the size with the header nor the width with 28.
    """
    size = plain.stat().st_size
    if not size:
        raise InputError(f"{source} is empty where an IDX file is expected: {_REPLACE}.")
    axes = 1 + len(sample)
    magic = bytes((0, 0, 8, axes))
    with open(plain, "rb") as opened:
        header = opened.read(4 + 4 * axes)
        if header[:4] != magic[: len(header)]:
            raise InputError(
                f"{source} begins with the bytes {header[:4].hex(' ')} where an IDX file of its name begins with"
                f" {magic.hex(' ')}: {_REPLACE}."
            )
        if len(header) < 4 + 4 * axes:
            raise InputError(f"{source} is cut short within its header of {4 + 4 * axes} bytes: {_REPLACE}.")
        count, *shape = (int.from_bytes(header[at : at + 4], "big") for at in range(4, len(header), 4))
        if tuple(shape) != sample:
            raise InputError(
                f"{source} holds images of {' x '.join(map(str, shape))} pixels where {SIDE} x {SIDE} are "
                f"expected: {_REPLACE}."
            )
        promised = len(header) + count * math.prod(sample)
        if size != promised:
            fault = "is cut short" if size < promised else "is longer than it should be"
            raise InputError(f"{source} {fault}, with {size} bytes where its header promises {promised}: {_REPLACE}.")
        if not count:
            raise InputError(f"{source} holds no samples: {_REPLACE}.")
        # Only labels are read on: a label beyond 9 would index beyond the outputs of a network.
        if not sample and (largest := max(opened.read())) >= CLASSES:
            raise InputError(
                f"{source} holds the label {largest} where labels from 0 to {CLASSES - 1} are expected: {_REPLACE}."
            )
    return count
