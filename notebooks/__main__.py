"""`python -m notebooks [--write] [NAME ...]`: run each notebook in a clean kernel, hold its output against what is kept.

NAME.py is what one edits, in the percent format of jupytext; NAME.ipynb is the same with its outputs, as a reader wants to see it.
"""

import argparse
import difflib
import math
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbclient
import nbformat
from traitlets.config import Config

HERE = Path(__file__).parent
METADATA = {
    "jupytext": {"formats": "ipynb,py:percent"},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
ANY_OF_MANY = re.compile(r"worst entry ∂Y[\[\d, \]]* / ∂[\w.]+[\[\d, \]]*")  # where all are off by rounding
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m notebooks", description="run the notebooks, each in a clean kernel")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which, such as 001_cotangents; all if none is given")
    parser.add_argument("--write", action="store_true", help="keep the new outputs")
    arguments = parser.parse_args()
    known = {path.stem: path for path in sorted(HERE.glob("[0-9]*.py"))}
    if unknown := set(arguments.names) - known.keys():
        parser.error(f"there is no notebook called {', '.join(sorted(unknown))}; expected one of {', '.join(known)}.")
    status = 0
    for name in arguments.names or known:
        notebook = run(known[name])
        kept = known[name].with_suffix(".ipynb")
        if arguments.write:
            nbformat.write(notebook, kept)
            print(f"{name}: written")
        elif fault := difference(notebook, nbformat.read(kept, as_version=4)):
            print(f"{name}: {fault}: look at it, then keep the new output with --write.", file=sys.stderr)
            status = 1
        else:
            print(f"{name}: as kept")
    return status


def run(path: Path) -> Any:
    """The notebook with its outputs, and nothing of the machine or the hour."""
    notebook = jupytext.read(path)
    # A kernel that is reached through files of its own, and opens no port.
    with tempfile.TemporaryDirectory() as folder:
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}})
        client = nbclient.NotebookClient(
            notebook,
            timeout=600,
            record_timing=False,
            coalesce_streams=True,  # how often a cell happens to flush what it prints is nobody's concern
            resources={"metadata": {"path": HERE}},
            config=config,
        )
        # The library beside the notebooks, whatever is installed.
        client.execute(env={**os.environ, "PYTHONPATH": str(HERE.parent)})
    notebook.metadata = METADATA
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
    return notebook


def difference(new: Any, kept: Any) -> str:
    """Where two runs differ by more than rounding, in words; '' where they do not. Pictures only have to be there."""
    if [cell.source for cell in new.cells] != [cell.source for cell in kept.cells]:
        return "the .ipynb holds other cells than the .py"
    for a, b in zip(new.cells, kept.cells, strict=True):
        now, then = printed(a), printed(b)
        if not alike(now, then):
            lines = difflib.unified_diff(then.splitlines(), now.splitlines(), "kept", "new", n=0, lineterm="")
            shown = "\n".join(line[:200] for line in lines)
            return f"the cell that begins with '{a.source.splitlines()[0]}' puts out something else\n{shown}\n"
    return ""


def printed(cell: Any) -> str:
    """All text that a cell has put out, and the kinds of what is no text."""
    parts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {"text/plain": output.get("text", output.get("evalue"))})
        parts += [f"{kind}: {content if kind.startswith('text') else ''}" for kind, content in sorted(data.items())]
    return "\n".join(parts)


def alike(a: str, b: str) -> bool:
    """The same words, and the same numbers to a part in a hundred, which another processor's rounding stays below."""
    a, b = (ANY_OF_MANY.sub("worst entry", text) for text in (a, b))
    numbers = zip(NUMBER.findall(a), NUMBER.findall(b), strict=False)
    return NUMBER.sub("#", a) == NUMBER.sub("#", b) and all(
        math.isclose(float(x), float(y), rel_tol=0.01, abs_tol=1e-6) for x, y in numbers
    )


if __name__ == "__main__":
    raise SystemExit(main())
