"""The case of every layer in tests/layers/."""

import importlib
import pkgutil

from tests import layers
from tests.layer_case import LayerCase

CASES: dict[str, LayerCase] = {
    name: importlib.import_module(f"tests.layers.{name}").CASE for _, name, _ in pkgutil.iter_modules(layers.__path__)
}
