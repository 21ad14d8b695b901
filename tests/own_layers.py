"""The case of every layer in tests/layers/ and tests/product_layers/."""

import importlib
import pkgutil
from collections.abc import Callable

from torch import nn

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

SETTINGS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    name: setting for family in _FAMILIES for name, setting in family.SETTINGS.items()
}
"""Modules of torch that have a layer, and the shape of a batch for each."""
