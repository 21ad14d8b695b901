"""Each file in configs/data has the arguments of its function, and Hydra builds the data set from it."""

import inspect
from pathlib import Path

import hydra
import pytest
from omegaconf import DictConfig, OmegaConf

import nets.data
from nets.data import DataSet
from nets.data.data_sets import DATA_SETS, known_as
from nets.errors import InputError

FOLDER = Path(__file__).parents[1] / "configs" / "data"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str, **overrides: object) -> DictConfig:
    return OmegaConf.merge({"seed": 3}, {"data": OmegaConf.load(FOLDER / f"{name}.yaml")}, {"data": overrides})


def test_each_data_set_has_a_file() -> None:
    assert NAMES == ["characters", "diabetes", "digits", "fashion_mnist", "mnist", "sine", "table", "teacher"]


def test_a_name_that_another_data_set_has_is_refused() -> None:
    before = dict(DATA_SETS)
    with pytest.raises(InputError, match=r"'digits'"):
        known_as("digits")(lambda: None)
    assert before == DATA_SETS


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_the_arguments_of_its_function(name: str) -> None:
    given = OmegaConf.to_container(load(name).data)
    assert isinstance(given, dict) and given.pop("_target_") == f"nets.data.{name}"
    parameters = inspect.signature(getattr(nets.data, name)).parameters
    assert list(given) == list(parameters)
    assert given.pop("seed") == "${seed}"
    for key, value in given.items():
        default = parameters[key].default
        assert value == ("???" if default is inspect.Parameter.empty else default), key


@pytest.mark.parametrize("name", ["diabetes", "digits", "sine", "teacher"])
def test_hydra_builds_the_data_set(name: str) -> None:
    data = hydra.utils.instantiate(load(name).data)
    assert isinstance(data, DataSet) and data.name == name
    assert data.test.inputs.equal(getattr(nets.data, name)(seed=3).test.inputs)


def test_hydra_passes_lists_of_names(tmp_path: Path) -> None:
    path = tmp_path / "square.csv"
    path.write_text("a,b,area\n" + "".join(f"{n},{n + 1},{n * n + n}\n" for n in range(9)))
    data = hydra.utils.instantiate(load("table", path=str(path), columns=["b", "a"], target=["area"]).data)
    assert data.train.inputs.shape == (7, 2) and data.train.targets.shape == (7, 1)
