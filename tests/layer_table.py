"""The table of layers in the README, made from the layers and the registry. `--write` puts it there."""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from torch import nn

import nets
from nets.calculus import architectures, layers
from nets.calculus.layers.conversion import registered

README = Path(__file__).parent.parent / "README.md"
BEGIN = "<!-- layers: `python -m tests.layer_table --write` makes this table from the registry -->\n"
END = "<!-- end of layers -->"

SAME = {
    "GELUTanh": 'GELU("tanh")',
    "PreNormBlock": "TransformerEncoderLayer",
    "PostNormBlock": "TransformerEncoderLayer",
}
"""Layers of another name than their class of torch.nn."""


def classes(module: ModuleType) -> Iterator[type[nets.Layer]]:
    """The layers of a module that can be made, in order."""
    for kind in vars(module).values():
        if isinstance(kind, type) and issubclass(kind, nets.Layer) and not inspect.isabstract(kind):
            yield kind


def said(kind: type[nets.Layer]) -> str:
    """What a layer computes: the first paragraph of its docstring, without what it refers to."""
    text = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    return re.split(r": see `|\. Arguments are", text)[0].rstrip(".").replace("|", "\\|").replace("*", "\\*")


def table() -> str:
    """The table, and the classes that become a layer of another name or a whole network."""
    known = registered()
    rows = [(kind.__name__, said(kind)) for module in (layers, architectures) for kind in classes(module)]
    lines = ["| layer | what it computes | in `torch.nn` |", "| --- | --- | --- |"]
    for name, text in rows:
        same = SAME.get(name, name if name in known and hasattr(nn, name) else "")
        lines.append(f"| `{name}` | {text} | {f'`{same}`' if same else ''} |")
    further = [name for name in known if name not in dict(rows) and name not in SAME.values()]
    return "\n".join([*lines, "", f"Taken as well: {', '.join(f'`{name}`' for name in further)}.", ""])


def shown() -> str:
    """The table that the README has."""
    return README.read_text("utf-8").split(BEGIN)[1].split(END)[0]


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        text = README.read_text("utf-8")
        before, _, rest = text.partition(BEGIN)
        README.write_text(before + BEGIN + table() + END + rest.partition(END)[2], "utf-8")
    else:
        print(table())
