"""Each fault in a user's table or archive gives an InputError of one sentence."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nets.data import table
from nets.errors import InputError

PLANTS = """height,width,kind,mass
1.0,2.0,fern,10
2.0,2.0,moss,20
3.0,2.0,fern,30
4.0,2.0,moss,40
5.0,2.0,fern,50
6.0,2.0,moss,60
"""


@pytest.fixture
def plants(tmp_path: Path) -> Path:
    path = tmp_path / "plants.csv"
    path.write_text(PLANTS)
    return path


def archive(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "plants.npz"
    np.savez(path, **arrays)
    return path


BAD_TEXT = {
    "empty": (b"", r"plants\.csv is empty where a header"),
    "blank": (b"\n \n", r"is empty where a header"),
    "header only": (b"height,mass\n", r"ends after its header where samples are expected"),
    "cut short": (
        b"height,mass\n1,2\n3,4\n5",
        r"^Line 4 of .* has 1 fields where the header names 2 columns: .*cut short",
    ),
    "too wide": (
        b"height,mass\n1,2\n3,4,5\n",
        r"^Line 3 of .* has 3 fields where the header names 2 columns: .*decimal comma",
    ),
    "NaN": (b"height,mass\n1,2\nNaN,4\n5,6\n", r"^Column 'height' of .* has 'NaN' in line 3 where a finite number"),
    "infinity": (b"height,mass\n1,2\n3,4\n-inf,6\n", r"^Column 'height' of .* has '-inf' in line 4 "),
    "beyond float32": (b"height,mass\n1e39,2\n3,4\n5,6\n", r"^Column 'height' of .* has '1e39' in line 2 "),
    "a gap": (b"height,mass\n1,2\n,4\n5,6\n", r"^Column 'height' of .* has nothing in line 3 "),
    "a row of gaps": (b"height,mass\n1,2\n,\n5,6\n", r"^Column 'height' of .* has nothing in line 3 "),
    "text": (b"height,mass\n1,2\n3,4\ntall,6\n", r"has 'tall' in line 4 .* or leave 'height' out of columns\.$"),
    "text as target": (
        b"height,mass\n1,2\n3,4\n5,heavy\n",
        r"'mass' .* has 'heavy' .* ask for targets=classes if 'mass' holds",
    ),
    "decimal comma": (
        b"height;mass\n1,5;2\n3;4\n5;6\n",
        r"has '1,5' in line 2 where a finite number such as 3\.5 is expected",
    ),
    "underscore": (b"height,mass\n1_0,2\n3,4\n5,6\n", r"has '1_0' in line 2 "),
    "long text": (b"height,mass\n" + b"a" * 999 + b",2\n3,4\n5,6\n", r"has 'a{37}\.\.\.' in line 2 "),
    "a name twice": (b"height,mass,height\n1,2,3\n", r"names 3 columns in line 1, 'height' more than once"),
    "no name": (b",height,mass\n0,1,2\n1,3,4\n2,5,6\n", r"leaves column 1 without a name in line 1"),
    "one sample": (b"height,mass\n1,2\n", r"^1 sample cannot be split: at least 3 are expected"),
    "latin 1": ("height,mass\n1,2\n3,4\n5,grün\n".encode("latin-1"), r"is not UTF-8 text, by the byte fc in line 4"),
    "UTF-16": (PLANTS.encode("utf-16"), r"is not UTF-8 text, by the byte ff in line 1: save"),
    "open quotation": (b'height,mass\n1,2\n"3,4\n5,6\n', r"cannot be read as CSV from line 3 on"),
    "spaces": (
        b"height mass\n1 2\n3 4\n5 6\n",
        r"among 'height mass': .* separate the columns by comma, semicolon or tab\.$",
    ),
    "another name": (
        b"height,Mass\n1,2\n3,4\n5,6\n",
        r"target names 'mass', .* among 'height', 'Mass': did you mean 'Mass'\?$",
    ),
    "only a target": (b"mass\n1\n2\n3\n", r"has no column besides the target 'mass': at least one input"),
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_a_bad_file_of_text_is_described_in_one_sentence(plants: Path, case: str) -> None:
    content, sentence = BAD_TEXT[case]
    plants.write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        table(path=plants, target="mass")
    assert "\n" not in str(caught.value)


BAD_QUESTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown column": (
        {"columns": ["hieght"], "target": "mass"},
        r"^columns names 'hieght', which .* does not have among 'height', .*: did you mean 'height'\?",
    ),
    "nothing like it": ({"target": "price"}, r"^target names 'price', which .*: name one of these\.$"),
    "number as name": ({"target": 3}, r"^target names '3', which "),
    "target among columns": (
        {"columns": ["height", "mass"], "target": "mass"},
        r"^'mass' is named both in columns and",
    ),
    "a column twice": (
        {"columns": ["height", "height"], "target": "mass"},
        r"^columns names 'height' 2 times where once",
    ),
    "no columns": ({"columns": [], "target": "mass"}, r"^columns is \[\]; expected the name of a column"),
    "fraction": ({"target": "mass", "columns": "height", "test_fraction": 1.5}, r"^test_fraction is 1\.5;"),
    "kind of target": (
        {"target": "kind", "targets": "kind"},
        r"^targets is 'kind'; expected 'values' or 'signed' or 'cl",
    ),
    "two label columns": (
        {"target": ["kind", "mass"], "targets": "classes"},
        r"^target names 'kind', 'mass' where targets=cl",
    ),
    "all labels differ": (
        {"target": "mass", "columns": "height", "targets": "classes"},
        r"6 labels, all different, .*targets=values",
    ),
    "one label": (
        {"target": "width", "columns": "height", "targets": "classes"},
        r"holds one label, '2\.0', where at least two",
    ),
    "seed": ({"target": "mass", "columns": "height", "seed": -1}, r"^seed is -1;"),
}


@pytest.mark.parametrize("case", BAD_QUESTIONS)
def test_a_bad_argument_is_described_in_one_sentence(plants: Path, case: str) -> None:
    question, sentence = BAD_QUESTIONS[case]
    with pytest.raises(InputError, match=sentence) as caught:
        table(path=plants, **question)
    assert "\n" not in str(caught.value)


def test_a_missing_label_is_named(plants: Path) -> None:
    plants.write_text(PLANTS.replace("3.0,2.0,fern", "3.0,2.0,"))
    with pytest.raises(InputError, match=r"^Column 'kind' of .* has nothing in line 4 where a label is expected"):
        table(path=plants, columns="height", target="kind", targets="classes")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=rf"^There is no file {tmp_path}/none\.csv where a CSV or NPZ file is expected"
    ):
        table(path=tmp_path / "none.csv", target="mass")
    with pytest.raises(InputError, match=rf"^{tmp_path} is a folder where a CSV or NPZ file is expected"):
        table(path=tmp_path, target="mass")


def test_a_held_out_value_that_overflows_when_scaled_is_named(tmp_path: Path) -> None:
    # A held-out 3e38 divided by a training deviation of 1e-9 is 3e47, which overflows float32.
    values = np.arange(10.0) % 2 * 1e-9
    plain = table(path=archive(tmp_path, X=np.arange(10.0), y=values), target="y", test_fraction=0.1, standardise=False)
    held_out = int(plain.test.inputs.item())
    values[held_out] = 3e38
    with pytest.raises(InputError, match=r"has a held-out value so far beyond those of the training part"):
        table(path=archive(tmp_path, X=values, y=np.arange(10.0)), target="y", test_fraction=0.1)


SIX = np.arange(6.0)
BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "not there": ({"X": SIX, "z": SIX}, r"^target names 'y', which .* does not have among 'X', 'z': name one of these"),
    "objects": (
        {"X": SIX, "y": np.array([1, None] * 3)},
        r"^Array 'y' of .* holds Python objects, which are never unpickled",
    ),
    "lengths": ({"X": SIX, "y": SIX[:5]}, r"has 6 samples in 'X' but 5 in 'y', where inputs and targets of the same"),
    "input lengths": (
        {"X": SIX, "Z": SIX[:4], "y": SIX},
        r"has 6 samples in 'X' but 4 in 'Z' where as many are expected",
    ),
    "NaN": (
        {"X": np.array([[1, 2], [3, np.nan], [5, 6]]), "y": SIX[:3]},
        r"^Array 'X' of .* has nan at \[1, 1\] where",
    ),
    "text": (
        {"X": np.array(["a", "b", "c"]), "y": SIX[:3]},
        r"^Array 'X' of .* holds <U1 where numbers .*: leave 'X' out",
    ),
    "beyond float32": ({"X": SIX * 1e39, "y": SIX}, r"^Array 'X' of .* has 1e\+39 at \[1\] where a finite number"),
    "complex": ({"X": SIX * 1j, "y": SIX}, r"^Array 'X' of .* holds complex128 where numbers are expected"),
    "pictures": (
        {"X": np.zeros((6, 2, 2)), "y": SIX},
        r"^Array 'X' of .* has the shape \(6, 2, 2\) where \(N,\) or \(N, J\)",
    ),
    "a single number": ({"X": SIX, "y": np.array(1.0)}, r"^Array 'y' of .* has the shape \(\) where"),
    "nothing": ({}, r"holds no arrays: write them with numpy\.savez"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_a_bad_archive_is_described_in_one_sentence(tmp_path: Path, case: str) -> None:
    arrays, sentence = BAD_ARRAYS[case]
    with pytest.raises(InputError, match=sentence) as caught:
        table(path=archive(tmp_path, **arrays), target="y")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [[0.5, 1.0, 0.5, 1.0], [[1, 2], [1, 2], [3, 4], [3, 4]]])
def test_an_invalid_label_is_named(tmp_path: Path, labels: list[Any]) -> None:
    with pytest.raises(InputError, match=r"where labels are expected: whole numbers or text in the shape \(N,\)"):
        table(path=archive(tmp_path, X=SIX[:4], y=np.array(labels)), target="y", targets="classes")


def test_a_missing_label_in_an_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^Array 'y' of .* lacks a label at \[2\], with 'nan'"):
        table(path=archive(tmp_path, X=SIX[:4], y=np.array(["a", "b", "nan", "a"])), target="y", targets="classes")


def stored(member: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr(member, content)
        with opened.open("X.npy", "w") as array:
            np.save(array, SIX)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"plants\.npz is empty where an archive of arrays"),
        (PLANTS.encode(), r"is cut short or no NPZ archive \(.*\): .* give a table of text the ending \.csv\.$"),
        (stored("y.npy", b"\x93NUMPY\x01\x00"), r"^Array 'y' of .* cannot be read \(.*\): the file is damaged"),
        (stored("y", b"hello"), r"^'y' of .* is no NumPy array"),
    ],
)
def test_a_file_that_is_not_an_archive_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "plants.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        table(path=path, target="y")


def test_a_damaged_archive_is_named_wherever_it_is_cut_or_changed(tmp_path: Path) -> None:
    path = archive(tmp_path, X=SIX, y=SIX)
    whole = path.read_bytes()
    for at in range(1, len(whole), 37):
        path.write_bytes(whole[:at])
        with pytest.raises(InputError, match=r"is cut short or no NPZ archive"):
            table(path=path, target="y")
    # One changed byte in the numbers: the checksum of the archive detects it.
    numbers = whole.index(SIX.tobytes())
    path.write_bytes(whole[: numbers + 9] + b"\x01" + whole[numbers + 10 :])
    with pytest.raises(InputError, match=r"^Array 'X' of .* cannot be read \(.*CRC.*\): the file is damaged"):
        table(path=path, target="y")
