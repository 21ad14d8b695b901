"""A user's own table, from a CSV file or a NumPy archive."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nets.data.batch import Batch, DataSet
from nets.data.csv_file import CsvFile, read_csv
from nets.data.data_sets import known_as
from nets.data.npz_file import NpzFile, read_npz
from nets.data.one_hot import TARGET_KINDS, encode
from nets.data.splitting import split
from nets.data.splitting import standardise as to_standard
from nets.errors import InputError
from nets.validation import one_of, refusal, yes_or_no

Names = str | int | Sequence[str | int]


@known_as("table")
def table(
    *,
    path: str | os.PathLike[str],
    target: Names,
    columns: Names | None = None,
    targets: str = "values",
    standardise: bool = True,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> DataSet:
    """Inputs and targets from the columns of a CSV file, or from the arrays of an NPZ file.

    A CSV file is UTF-8 text with the names of the columns in line 1, separated by comma, semicolon or tab. In an NPZ
    file the names are those of its arrays, of shape (N,) or (N, J), of which several are put side by side:
    `numpy.savez(path, X=inputs, y=targets)` is read with columns="X", target="y". Nothing is ever unpickled.

    Args:
        path: the file; it is an archive where its name ends in .npz.
        target: name of the column to predict, or a list of several.
        columns: names of the inputs; None for all that are no target.
        targets: "values": the target as numbers, shape (N, K), float32; "classes": its labels, numbered in sorted
            order, as numbers if all of them are numbers, shape (N,), int64; "signed": +1 for the right label, -1 for
            the others, shape (N, K), float32. What the classes are called is kept in `DataSet.labels`.
        standardise: bring inputs, and targets that are values, to mean 0 and deviation 1 over the training part. A
            column that is constant there becomes 0.
        test_fraction: share of the samples held out; of each class alike, if there are classes.
        seed: decides which.

    Raises:
        InputError: the file is missing, empty, damaged or not rectangular; a column is unknown, named twice, or has
            something that is no finite number; there are too few samples; an argument is out of range.
    """
    kind = one_of("targets", targets, ("values", *TARGET_KINDS))
    scaled = yes_or_no("standardise", standardise)
    source = _open(Path(os.path.expanduser(str(path))))
    wanted = _known(source, "target", target)
    used = (
        [name for name in source.names if name not in wanted] if columns is None else _known(source, "columns", columns)
    )
    _check_roles(source, used, wanted, kind)
    inputs = _side_by_side(source, used, "leave '{name}' out of columns")
    labels, classes = _numbered(source, wanted[0]) if kind != "values" else ((), None)
    hint = "ask for targets=classes if '{name}' holds labels"
    outputs = _side_by_side(source, wanted, hint) if classes is None else encode(classes, len(labels), kind)
    if len(inputs) != len(outputs):
        raise InputError(
            f"{source.path} has {len(inputs)} samples in {_listed(used)} but {len(outputs)} in {_listed(wanted)},"
            " where inputs and targets of the same samples are expected: name the arrays that belong together in"
            " columns and target."
        )
    train, test = split(len(inputs), test_fraction, seed, classes)
    train_inputs, test_inputs = _parts(source, inputs, train, test, scaled)
    train_targets, test_targets = _parts(source, outputs, train, test, scaled and classes is None)
    return DataSet(
        source.path.name,
        Batch(train_inputs, train_targets),
        Batch(test_inputs, test_targets),
        classes=len(labels) or None,
        labels=labels,
    )


def _open(path: Path) -> CsvFile | NpzFile:
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder where a CSV or NPZ file is expected: name the file in it.")
        if not path.exists():
            raise InputError(
                f"There is no file {path.absolute()} where a CSV or NPZ file is expected: mend the path, which starts"
                " from the folder that you are in unless it is absolute."
            )
        return read_npz(path) if path.suffix.lower() == ".npz" else read_csv(path)
    except OSError as error:
        raise InputError(f"{path} could not be read ({error.strerror or error}): mend that and run again.") from error


def _known(source: CsvFile | NpzFile, argument: str, given: object) -> list[str]:
    """The names in `given`, one or a list. Raises InputError unless all are in the file and each is given once."""
    listed = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if not listed or any(isinstance(name, bool) or not isinstance(name, (str, int)) for name in listed):
        raise refusal(argument, given, "the name of a column or a list of names")
    names = [str(name) for name in listed]
    for name in names:
        if name not in source.names:
            lower = {known.lower(): known for known in source.names}
            close = difflib.get_close_matches(name.lower(), lower, n=1)
            if close:
                meant = f"did you mean '{lower[close[0]]}'?"
            else:
                # One name alone is often a header that something else separates.
                separated = ", or separate the columns by comma, semicolon or tab" if len(source.names) == 1 else ""
                meant = f"name one of these{separated}."
            raise InputError(
                f"{argument} names '{name}', which {source.path} does not have among {_listed(source.names)}: {meant}"
            )
        if names.count(name) > 1:
            raise InputError(
                f"{argument} names '{name}' {names.count(name)} times where once is expected: name it once."
            )
    return names


def _check_roles(source: CsvFile | NpzFile, used: list[str], wanted: list[str], kind: str) -> None:
    both = [name for name in used if name in wanted]
    if both:
        raise InputError(
            f"'{both[0]}' is named both in columns and in target: a network that is given the answer learns nothing."
        )
    if not used:
        raise InputError(
            f"{source.path} has no column besides the target {_listed(wanted)}: at least one input is expected."
        )
    if "" in used:
        raise InputError(
            f"{source.path} leaves column {source.names.index('') + 1} without a name in line 1: give it one, or name"
            " the inputs in columns."
        )
    if kind != "values" and len(wanted) > 1:
        raise InputError(
            f"target names {_listed(wanted)} where targets={kind} expects the one column that holds the labels."
        )


def _side_by_side(source: CsvFile | NpzFile, names: list[str], hint: str) -> Tensor:
    """Columns or arrays as one of shape (N, J), float64; `hint` says how to mend one that holds no numbers."""
    found = [source.numbers(name, hint.format(name=name)) for name in names]
    lengths = {len(values): name for name, values in zip(names, found, strict=True)}
    if len(lengths) > 1:
        (one, first), (other, second), *_ = lengths.items()
        raise InputError(
            f"{source.path} has {one} samples in '{first}' but {other} in '{second}' where as many are expected: name"
            " the arrays that belong together in columns and target."
        )
    return torch.from_numpy(np.concatenate(found, axis=1))


def _numbered(source: CsvFile | NpzFile, name: str) -> tuple[tuple[str, ...], Tensor]:
    """The labels of a column in sorted order, and the place of each sample's label among them, shape (N,)."""
    texts = source.labels(name)
    distinct = set(texts)
    if len(distinct) < 2:
        raise InputError(
            f"'{name}' of {source.path} holds one label, '{texts[0]}', where at least two are expected to tell apart."
        )
    if len(distinct) == len(texts):
        raise InputError(
            f"'{name}' of {source.path} holds {len(texts)} labels, all different, where samples share labels: say"
            " targets=values if they are numbers."
        )
    try:
        labels = tuple(sorted(distinct, key=lambda label: (float(label), label)))
    except ValueError:
        labels = tuple(sorted(distinct))
    number = {label: index for index, label in enumerate(labels)}
    return labels, torch.tensor([number[text] for text in texts])


def _parts(
    source: CsvFile | NpzFile, values: Tensor, train: Tensor, test: Tensor, scaled: bool
) -> tuple[Tensor, Tensor]:
    """The rows of each part, in float32 unless they are classes."""
    parts = values[train], values[test]
    if scaled:
        parts = to_standard(*parts)
        if not parts[1].isfinite().all():
            raise InputError(
                f"{source.path} has a held-out value so far beyond those of the training part that its standard score"
                " is not finite in float32: mend it, or set standardise=false."
            )
    return (parts[0].float(), parts[1].float()) if values.is_floating_point() else parts


def _listed(names: Sequence[str]) -> str:
    """Names for a message, the first few of many."""
    shown = ", ".join(f"'{name}'" for name in names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
