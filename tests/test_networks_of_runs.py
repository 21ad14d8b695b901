"""The networks that a run may have: each has a file of settings, and a sibling of the same layers that is proved."""

import inspect
import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from quick_gradcheck import quick_gradcheck
from running import command_line, composed
from torch import Tensor, nn

import nets
import train
from nets.calculus.architectures import gpt
from nets.calculus.architectures.registry import NETWORKS, network_of, sibling_of
from nets.calculus.layers import LSTM, Attention, Conv2d
from nets.calculus.losses import LOSSES
from tests.in_matrix import chosen_in_test

FILES = sorted(path.stem for path in (train.CONFIGS / "network").glob("*.yaml"))
EXPERIMENTS = ["gpt", "gpt_accumulated", "lstm", "conv_digits", "conv_mnist"]


def kinds(module: nn.Module) -> set[str]:
    return {type(part).__name__ for part in module.modules()}


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_every_network_and_every_loss_has_a_file() -> None:
    assert sorted(NETWORKS) == FILES
    assert sorted(LOSSES) == sorted(path.stem for path in (train.CONFIGS / "loss").glob("*.yaml"))


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_the_arguments_of_its_function(name: str) -> None:
    given = OmegaConf.to_container(OmegaConf.load(train.CONFIGS / "network" / f"{name}.yaml"))
    assert isinstance(given, dict) and given.pop("name") == name
    assert list(given) == [key for key in inspect.signature(NETWORKS[name].make).parameters if key != "generator"]


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_file_of_a_loss_has_its_arguments(name: str) -> None:
    given = OmegaConf.to_container(OmegaConf.load(train.CONFIGS / "loss" / f"{name}.yaml"))
    defaults = inspect.signature(LOSSES[name]).parameters
    assert isinstance(given, dict) and given.pop("name") == name
    assert given == {key: one.default for key, one in defaults.items() if key != "reduction"}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_sibling_has_the_same_kinds_of_layers(experiment: str) -> None:
    settings = composed(f"experiment={experiment}")["network"]
    network, sibling = network_of(settings, 10, generator()), sibling_of(settings)
    assert sibling is not None and kinds(sibling.network) == kinds(network)
    assert sum(map(torch.numel, sibling.network.parameters())) < 500
    assert torch.isfinite(sibling.network(sibling.inputs)).all()
    for name, value in sibling.sizes.items():
        assert f"{name} {value}" in sibling.note


def test_a_perceptron_is_checked_itself() -> None:
    assert sibling_of(composed()["network"]) is None


def test_a_rotary_embedding_takes_the_place_of_the_table_of_positions() -> None:
    settings = composed("experiment=gpt", "network.rotary=100")["network"]
    sibling = sibling_of(settings)
    assert sibling is not None and "Positions" not in kinds(sibling.network)
    assert sibling.network.get_submodule("blocks.0.attention.attention").rotary == 100
    network = gpt(5, context=3, width=4, heads=2, rotary=100.0)
    assert network(torch.zeros(1, 9, dtype=torch.int64)).shape == (1, 9, 5)


WRONG = {
    "gpt": (Attention, "query.weight"),  # also wrong: key.weight
    "lstm": (LSTM, "token.weight"),
    "conv_digits": (Conv2d, "1.weight"),
}


@pytest.mark.parametrize("experiment", chosen_in_test(WRONG, lambda name: name != "gpt"))
def test_a_wrong_pullback_is_found_in_the_sibling_and_no_step_is_made(
    experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick_gradcheck(monkeypatch)
    kind, parameter = WRONG[experiment]
    right = kind.pullback

    def pullback(layer: nets.Layer, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return 1.01 * right(layer, v, x, y)

    monkeypatch.setattr(kind, "pullback", pullback)
    with pytest.raises(SystemExit) as end:
        command_line(monkeypatch, tmp_path, f"experiment={experiment}", "run_dir=here")
    assert end.value.code == 1 and "no step was made" in capsys.readouterr().err
    certificate = json.loads((tmp_path / "here" / "certificate.json").read_text("utf-8"))
    failed = {check["parameter"] for check in certificate["checks"] if check["verdict"] == "fail"}
    assert any(name.endswith(parameter) for name in failed)
    assert "sibling" in certificate["notes"][0]
