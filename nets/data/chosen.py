"""The data set that the settings `data` of a run describe."""

from collections.abc import Mapping
from typing import Any

from nets.data.batch import DataSet
from nets.data.data_sets import DATA_SETS
from nets.settings import call
from nets.validation import one_of


def data_set_of(settings: Mapping[str, Any]) -> DataSet:
    """The data set that `data._target_` names.

    Args:
        settings: `_target_`, such as 'nets.data.digits', and the arguments of that function.

    Raises:
        InputError: for another name, or an argument that is unknown, missing or of another type.
    """
    known = {f"nets.data.{name}": DATA_SETS[name] for name in sorted(DATA_SETS)}
    # No other target is accepted: Hydra would call any importable function, including torch.load.
    target = one_of("data._target_", settings.get("_target_"), tuple(known))
    data: DataSet = call(known[target], {key: value for key, value in settings.items() if key != "_target_"}, "data")
    return data
