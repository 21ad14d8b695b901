"""`python -m notebooks [--write] [NAME ...]`: run the notebooks, each in a clean kernel.

Each output is compared with the saved one. NAME.py is the source, in the percent format of jupytext; NAME.ipynb holds
the same cells with their outputs.
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
WORST_ENTRY = re.compile(r"worst entry ∂Y[\[\d, \]]* / ∂[\w.]+[\[\d, \]]*")
"""Depends on the rounding of the processor, if all entries agree up to rounding."""

NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m notebooks", description="run the notebooks, each in a clean kernel"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as 001_cotangents; all if none is given")
    parser.add_argument("--write", action="store_true", help="save the new outputs")
    arguments = parser.parse_args()
    known = {path.stem: path for path in sorted(HERE.glob("[0-9]*.py"))}
    if unknown := set(arguments.names) - known.keys():
        parser.error(f"there is no notebook called {', '.join(sorted(unknown))}; expected one of {', '.join(known)}.")
    status = 0
    for name in arguments.names or known:
        notebook = run(known[name])
        saved = known[name].with_suffix(".ipynb")
        if arguments.write:
            nbformat.write(notebook, saved)
            print(f"{name}: written")
        elif found := difference(notebook, nbformat.read(saved, as_version=4)):
            print(f"{name}: {found}: check it, then save the new output with --write.", file=sys.stderr)
            status = 1
        else:
            print(f"{name}: as saved")
    return status


def run(path: Path) -> Any:
    """The notebook with its outputs, without anything that depends on the machine or the time."""
    notebook = jupytext.read(path)
    # The kernel is reached through files and opens no port.
    with tempfile.TemporaryDirectory() as folder:
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}})
        client = nbclient.NotebookClient(
            notebook,
            timeout=600,
            record_timing=False,
            coalesce_streams=True,  # how often a cell flushes its output varies from run to run
            resources={"metadata": {"path": HERE}},
            config=config,
        )
        # Import nets from this checkout, not an installed one.
        client.execute(env={**os.environ, "PYTHONPATH": str(HERE.parent)})
    notebook.metadata = METADATA
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
    return notebook


def difference(new: Any, saved: Any) -> str:
    """How two runs differ beyond rounding; '' if they do not. Of pictures only the presence counts."""
    if [cell.source for cell in new.cells] != [cell.source for cell in saved.cells]:
        return "the .ipynb and the .py have different cells"
    for a, b in zip(new.cells, saved.cells, strict=True):
        now, then = printed(a), printed(b)
        if not alike(now, then):
            lines = difflib.unified_diff(then.splitlines(), now.splitlines(), "saved", "new", n=0, lineterm="")
            shown = "\n".join(line[:200] for line in lines)
            return f"the output of the cell that begins with '{a.source.splitlines()[0]}' differs\n{shown}\n"
    return ""


def printed(cell: Any) -> str:
    """All text output of a cell, and the kinds of its other outputs."""
    parts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {"text/plain": output.get("text", output.get("evalue"))})
        parts += [f"{kind}: {content if kind.startswith('text') else ''}" for kind, content in sorted(data.items())]
    return "\n".join(parts)


def alike(a: str, b: str) -> bool:
    """The same words, and the same numbers up to one percent; rounding on another processor stays below."""
    a, b = (WORST_ENTRY.sub("worst entry", text) for text in (a, b))
    numbers = zip(NUMBER.findall(a), NUMBER.findall(b), strict=False)
    return NUMBER.sub("#", a) == NUMBER.sub("#", b) and all(
        math.isclose(float(x), float(y), rel_tol=0.01, abs_tol=1e-6) for x, y in numbers
    )


if __name__ == "__main__":
    raise SystemExit(main())
