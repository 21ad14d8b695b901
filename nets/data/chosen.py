"""The data set that the settings `data` of a run describe."""

import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from nets.data.batch import DataSet
from nets.settings import call
from nets.validation import one_of


def load(settings: Mapping[str, Any], functions: ModuleType) -> DataSet:
    """The data set that `data._target_` names.

    Args:
        settings: `_target_`, such as 'nets.data.digits', and the arguments of that function.
        functions: the module that has them.

    Raises:
        InputError: for another name, or an argument that is unknown, missing or of another type.
    """
    known = {f"{functions.__name__}.{name}": made for name, made in inspect.getmembers(functions, inspect.isroutine)}
    # No other target is accepted: Hydra would call any importable function, including torch.load.
    target = one_of("data._target_", settings.get("_target_"), tuple(known))
    data: DataSet = call(known[target], {key: value for key, value in settings.items() if key != "_target_"}, "data")
    return data
