"""A NumPy archive as named arrays. Each is read as numbers or as labels."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nets.data.csv_file import LARGEST
from nets.errors import InputError


@dataclass(frozen=True, slots=True)
class NpzFile:
    """Arrays whose first axis counts the samples.

    Attributes:
        path: of the file, as it was given.
        names: of the arrays in it. An array is read at its first use.
    """

    path: Path
    names: tuple[str, ...]

    def numbers(self, name: str, hint: str) -> npt.NDArray[np.float64]:
        """An array of shape (N,) or (N, J) as shape (N, 1) or (N, J); InputError for an entry that is not a finite
        number."""
        array = self._read(name)
        if array.dtype.kind not in "biuf":
            raise InputError(f"Array '{name}' of {self.path} holds {array.dtype} where numbers are expected: {hint}.")
        if array.ndim not in (1, 2):
            raise InputError(
                f"Array '{name}' of {self.path} has the shape {array.shape} where (N,) or (N, J) is expected: reshape"
                " it, a sample to a row."
            )
        values = array.astype(np.float64)
        usable = np.abs(values) <= LARGEST  # False for NaN
        if not usable.all():
            at = tuple(int(index) for index in np.argwhere(~usable)[0])
            raise InputError(
                f"Array '{name}' of {self.path} has {values[at]} at {list(at)} where a finite number is expected:"
                " mend or delete that sample."
            )
        return values[:, None] if values.ndim == 1 else values

    def labels(self, name: str) -> list[str]:
        """An array of whole numbers or of text, shape (N,) or (N, 1), as text; InputError for anything else."""
        array = self._read(name)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.dtype.kind == "f" and np.all(array == np.floor(array)) and np.all(np.abs(array) < 2**53):
            array = array.astype(np.int64)
        if array.ndim != 1 or array.dtype.kind not in "biuU":
            raise InputError(
                f"Array '{name}' of {self.path} holds {array.dtype} in the shape {array.shape} where labels are"
                " expected: whole numbers or text in the shape (N,)."
            )
        labels = [str(label).strip() for label in array.tolist()]
        missing = [at for at, label in enumerate(labels) if label.lower() in ("", "nan")]
        if missing:
            raise InputError(
                f"Array '{name}' of {self.path} lacks a label at {missing[:1]}, with '{labels[missing[0]]}': fill it"
                " in or leave that sample out."
            )
        return labels

    def _read(self, name: str) -> npt.NDArray[Any]:
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                array = archive[name]
        except (ValueError, EOFError, OSError, KeyError, MemoryError, zlib.error, zipfile.BadZipFile) as error:
            if "pickle" in str(error):
                raise InputError(
                    f"Array '{name}' of {self.path} holds Python objects, which are never unpickled, where numbers or"
                    " text are expected: save it with a dtype of its own."
                ) from error
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"Array '{name}' of {self.path} cannot be read ({reason}): the file is damaged; save it again."
            ) from error
        if not isinstance(array, np.ndarray):
            raise InputError(f"'{name}' of {self.path} is no NumPy array: write the file with numpy.savez.")
        return array


def read_npz(path: Path) -> NpzFile:
    """Opens an archive that `numpy.savez` wrote; nothing in it is ever unpickled.

    Raises:
        InputError: no archive, cut short, or without arrays.
    """
    if not path.stat().st_size:
        raise InputError(f"{path} is empty where an archive of arrays, written by numpy.savez, is expected.")
    try:
        with zipfile.ZipFile(path) as archive:
            names = tuple(name.removesuffix(".npy") for name in archive.namelist())
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{path} is cut short or no NPZ archive ({error}): write it with numpy.savez, or give a table of text "
            "the ending .csv."
        ) from error
    if not names:
        raise InputError(
            f"{path} holds no arrays: write them with numpy.savez, such as savez(path, X=inputs, y=targets)."
        )
    return NpzFile(path, names)
