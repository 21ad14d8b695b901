"""The saved notebooks have the cells of their .py files, are complete and independent of the machine, and show each
claim.

`make notebooks` runs them.
"""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.claims import document_000, document_001, document_003, document_004  # noqa: F401
from tests.claims.record import CLAIMS, LETTERS

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("[0-9]*.py"))
EACH = pytest.mark.parametrize("name", NAMES)
LARGEST = 400_000
MACHINE = re.compile(r"/home/|/tmp/|/root/|/usr/|site-packages|0x[0-9a-f]{6,}|Warning|Traceback|\d (ms|µs)\b")


def saved(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.ipynb").read_text("utf-8"))


def code(name: str) -> list[Any]:
    return [cell for cell in saved(name)["cells"] if cell["cell_type"] == "code"]


def texts(cell: Any) -> list[str]:
    """The output of a cell without its pictures."""
    parts = []
    for output in cell["outputs"]:
        data = output.get("data", {"text/plain": output.get("text", [])})
        parts += ["".join(content) for kind, content in data.items() if kind.startswith("text")]
    return parts


def rows_of_the_table() -> dict[str, tuple[str, list[str]]]:
    """Row → its engines and notebooks, from the table in notebooks/README.md."""
    found = re.findall(
        r"^\| ([A-D]\d) \| .* \| ([TNSFJ ]+) \| ([\d ]+) \|$", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE
    )
    return {row: (engines, notebooks.split()) for row, engines, notebooks in found}


@EACH
def test_both_files_of_a_pair_hold_the_same_cells(name: str) -> None:
    jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed: it comes with the extra 'notebooks'")
    plain = jupytext.read(FOLDER / f"{name}.py")
    pairs = [(cell.cell_type, cell.source, cell.metadata.get("tags")) for cell in plain.cells]
    assert pairs == [(c["cell_type"], "".join(c["source"]), c["metadata"].get("tags")) for c in saved(name)["cells"]]


@EACH
def test_every_cell_ran_in_order_and_without_an_error(name: str) -> None:
    cells = code(name)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}
    for cell in cells:
        # All printed output of a cell is in one piece, so that two runs save the same file.
        assert sum(output["output_type"] == "stream" for output in cell["outputs"]) <= 1


@EACH
def test_the_output_does_not_depend_on_the_machine(name: str) -> None:
    for cell in code(name):
        for text in texts(cell):
            assert not MACHINE.search(text), text
    notebook = saved(name)
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert {key for cell in notebook["cells"] for key in cell["metadata"]} <= {"tags"}
    assert (FOLDER / f"{name}.ipynb").stat().st_size < LARGEST


@EACH
def test_each_notebook_has_pictures(name: str) -> None:
    kinds = [kind for cell in code(name) for output in cell["outputs"] for kind in output.get("data", {})]
    assert kinds.count("image/png") >= 2


def test_every_claim_is_in_the_notebook_that_the_table_names() -> None:
    table = rows_of_the_table()
    shown = {
        row: [name[:3] for name in NAMES if any(row in c["metadata"].get("tags", []) for c in code(name))]
        for row in table
    }
    assert shown == {row: notebooks for row, (_, notebooks) in table.items()}
    for name in NAMES:
        tags = {tag for cell in code(name) for tag in cell["metadata"].get("tags", [])}
        written = "".join("".join(cell["source"]) for cell in saved(name)["cells"] if cell["cell_type"] == "markdown")
        assert tags == set(re.findall(r"<sub>([A-D]\d)</sub>", written))


def test_every_row_names_the_engines_of_its_test() -> None:
    asked = {row: engines for row, (engines, _) in CLAIMS.items()}
    assert {row: engines for row, (engines, _) in rows_of_the_table().items()} == asked


@pytest.mark.parametrize("row", CLAIMS)
def test_the_cells_of_a_row_show_its_engines(row: str) -> None:
    """The cells or their output contain the name of each engine, or a call of PyTorch."""
    cells = [cell for name in NAMES for cell in code(name) if row in cell["metadata"].get("tags", [])]
    shown = "\n".join(part for cell in cells for part in ["".join(cell["source"]), *texts(cell)])
    for letter in CLAIMS[row][0].split():
        name = LETTERS[letter]
        assert (
            name in shown
            or (letter == "T" and re.search("torch|recording", shown))
            or (letter == "S" and "symbolic" in shown)
        )


@pytest.fixture
def runner() -> Any:
    pytest.importorskip("jupytext", reason="jupytext is not installed: it comes with the extra 'notebooks'")
    pytest.importorskip("nbclient", reason="nbclient is not installed: it comes with the extra 'notebooks'")
    return importlib.import_module("notebooks.__main__")


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("dz/dx = -5.4668", "dz/dx = -5.4669", True),
        ("dz/dx = -5.4668", "dz/dx = -5.6", False),
        ("largest difference 0", "largest difference 3e-16", True),
        ("largest difference 0", "largest difference 3e-2", False),
        ("pass", "fail", False),
        ("[1, 2]", "[1, 2, 3]", False),
        ("worst entry ∂Y[1] / ∂0.weight[3, 9]", "worst entry ∂Y[0] / ∂0.weight[2, 4]", True),
    ],
)
def test_outputs_are_compared_word_by_word_and_number_by_number(runner: Any, a: str, b: str, same: bool) -> None:
    assert runner.alike(a, b) is same


def test_a_difference_between_two_runs_is_reported(runner: Any, tmp_path: Path) -> None:
    plain = tmp_path / "small.py"
    plain.write_text('# %% [markdown]\n# # Small\n\n# %% tags=["A1"]\nprint(6 * 7)\n', encoding="utf-8")
    notebook = runner.run(plain)
    assert [cell.metadata for cell in notebook.cells] == [{}, {"tags": ["A1"]}]
    assert runner.printed(notebook.cells[1]) == "text/plain: 42\n"
    assert runner.difference(notebook, notebook) == ""
    plain.write_text(plain.read_text("utf-8").replace("7", "8"), encoding="utf-8")
    changed = runner.run(plain)
    assert runner.difference(changed, notebook) == "the .ipynb and the .py have different cells"
    notebook.cells[1].source = changed.cells[1].source
    assert "-text/plain: 42\n+text/plain: 48" in runner.difference(changed, notebook)


def test_an_unknown_notebook_is_refused_in_one_sentence(
    runner: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["notebooks", "000_gradient"])
    with pytest.raises(SystemExit):
        runner.main()
    assert (
        "there is no notebook called 000_gradient; expected one of 000_gradients, 001_cotangents"
        in capsys.readouterr().err
    )
