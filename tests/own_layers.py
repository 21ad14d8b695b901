"""The case of every layer in tests/layers/ and tests/product_layers/."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn

from tests import layers, product_layers
from tests.layer_case import LayerCase

OWN: dict[str, LayerCase] = {
    name: importlib.import_module(f"tests.layers.{name}").CASE for _, name, _ in pkgutil.iter_modules(layers.__path__)
}
"""Layers as a user writes them."""

_FAMILIES = [
    importlib.import_module(f"tests.product_layers.{name}")
    for _, name, _ in pkgutil.iter_modules(product_layers.__path__)
]

CASES: dict[str, LayerCase] = OWN | {name: case for family in _FAMILIES for name, case in family.CASES.items()}

IN_SHORT = {*OWN, "layer norm of torch", "convolution over positions"}
"""Layers that `make test` checks in full. It holds the numbers of the others against torch.nn (`test_torch_layers`);
`make matrix` does the rest."""


def marked(name: str, *more: str) -> Any:
    """A row of a table for one layer, for `make matrix` alone unless the layer is in IN_SHORT."""
    return pytest.param(name, *more, marks=[] if name in IN_SHORT else pytest.mark.matrix)


SETTINGS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...] | Tensor]] = {
    name: setting for family in _FAMILIES for name, setting in family.SETTINGS.items()
}
"""Modules of torch that have a layer, and for each the shape of a batch, or a batch of whole numbers."""
