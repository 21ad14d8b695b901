"""Helpers for the tests of train.py: a command line in this process, its descent, and the events that it writes."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import nets
import train
from nets.calculus.architectures.registry import network_of
from nets.calculus.losses.chosen import loss_of
from nets.data.chosen import data_set_of
from nets.training.evaluation import Evaluation, evaluate
from nets.training.rule_settings import descent_of, rule_of


def command_line(patch: pytest.MonkeyPatch, folder: Path, *settings: str) -> None:
    """What `python train.py setting …` does in `folder`; `patch` undoes what that does to this process."""
    patch.setenv("HYDRA_FULL_ERROR", "0")  # main() sets it
    patch.setattr(train, "TRACEBACK_WANTED", False)
    patch.chdir(folder)
    patch.setattr(sys, "argv", ["train.py", *settings])
    train.main()


def composed(*overrides: str) -> dict[str, Any]:
    """The settings as the command line composes them."""
    with initialize_config_dir(str(train.CONFIGS), version_base="1.3"):
        config = compose("train", list(overrides))
    settings: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    return settings


class Descent:
    """What a run would descend, without its certificate and its files."""

    def __init__(self, *overrides: str) -> None:
        settings = composed(*overrides)
        dtype = getattr(torch, settings["dtype"])
        self.data = data_set_of(settings["data"]).to(dtype)
        self.loss = loss_of(settings["loss"])
        generator = torch.Generator().manual_seed(settings["seed"])
        self.network = network_of(settings["network"], self.data.classes, generator).to(dtype)
        descent = descent_of(settings["descent"], settings["optimizer"], [])
        made = rule_of(settings["optimizer"], settings["schedule"], descent, len(self.data.train))
        self.steps = nets.descend(
            self.network, self.data.train, loss=self.loss, seed=settings["seed"], **(descent | made)
        )

    def end(self) -> list[nets.Step]:
        return list(self.steps)

    def held_out(self) -> Evaluation:
        return evaluate(self.network, self.loss, self.data.test, self.data.classes)


def events(directory: Path) -> EventAccumulator:
    return EventAccumulator(str(directory), size_guidance={"scalars": 0, "tensors": 0, "histograms": 0}).Reload()
