"""`python train.py experiment=tanh_linear`: prove the gradients, train, show. The only file that knows Hydra."""

import difflib
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

CONFIGS = Path(__file__).resolve().parent / "configs"
TRACEBACK_WANTED = os.environ.get("HYDRA_FULL_ERROR") == "1"
# With this, Hydra hands errors on as they are instead of printing its own account of them.
os.environ["HYDRA_FULL_ERROR"] = "1"
EVALUATIONS = 50
"""How often a run looks at the samples held out; histograms are ten times as rare."""


def experiment(config: DictConfig) -> None:
    """Config → data → network → certificate → descent → records → board."""
    # Imported here, so that --help and a misspelt key need not wait for torch.
    import torch
    from rich.console import Console

    import nets
    from nets.calculus.losses import LOSSES
    from nets.telemetry.board import Board
    from nets.telemetry.screen import say, summary

    console = Console()
    settings: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]

    # What can be wrong with the input is found before anything is written.
    dtype = choose(settings, "dtype", {"float32": torch.float32, "float64": torch.float64})
    loss = choose(settings, "loss", LOSSES)()
    seed = whole(settings, "seed", 0)
    data = load(settings["data"]).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    network = call(nets.mlp, settings["network"], "network", generator=generator).to(dtype)
    samples = data.train.inputs[: whole(settings["verification"], "samples", 1, "verification.")]
    steps = call(nets.descend, settings["descent"], "descent", network=network, data=data.train, loss=loss, seed=seed)

    directory = new_directory(settings["run_dir"], HydraConfig.get().runtime.choices["experiment"])
    with Board(directory) as board:
        board.config(OmegaConf.to_yaml(config, resolve=True))
        (directory / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True), encoding="utf-8")

        certificate = nets.verify(network, samples, seed=seed)
        (directory / "certificate.json").write_text(certificate.to_json(), encoding="utf-8")
        board.certificate(certificate)
        say(console, f"{certificate}\n")
        if certificate.verdict == "fail":
            raise nets.GradientError(f"{certificate.sentence()} Not a step was made; the certificate is in {directory}.")

        rows = train(network, steps, data, loss, settings["descent"], board, console, directory)
    summary(console, {"certificate": certificate.sentence(), **rows, "TensorBoard": f"tensorboard --logdir {directory}"})


def train(
    network: Any, steps: Any, data: Any, loss: Any, descent: Mapping[str, Any], board: Any, console: Any, directory: Path
) -> dict[str, str]:
    """Follow the descent to its end, writing every record; what there is to say of it afterwards, as {name: text}."""
    from safetensors.torch import save_file

    from nets.telemetry.diagnosis import diagnose
    from nets.telemetry.figures import gradient_figure
    from nets.telemetry.screen import progress
    from nets.training.descent import count_steps
    from nets.training.evaluation import evaluate

    total = count_steps(len(data.train), descent["epochs"], descent["steps"], descent["batch_size"])
    looks = {1, total, *range(0, total, max(1, total // EVALUATIONS))}
    portraits = {1, total, *range(0, total, max(1, total * 10 // EVALUATIONS))}
    records = []
    started = time.perf_counter()
    try:
        for step in progress(steps, total, console):
            records.append(step)
            seen: dict[str, Any] = {}
            if step.step in looks:
                test = evaluate(network, loss, data.test, data.classes)
                seen |= {"test_loss": test.loss, "test_accuracy": test.accuracy}
            if step.step in portraits:
                named = dict(network.named_parameters())
                seen |= {"parameters": named, "gradients": {name: p.grad for name, p in named.items()}}
            board.write(step, **seen)
    finally:
        # Whatever ends the descent, what was seen up to there can be looked at.
        seconds = time.perf_counter() - started
        if records:
            gradient_figure(records, directory / "gradients.png")
            board.picture("gradients", directory / "gradients.png", records[-1].step)
    save_file(dict(network.state_dict()), directory / "weights.safetensors")

    last, final = records[-1], evaluate(network, loss, data.test, data.classes)
    rows = {"loss": f"{last.loss:.4g} in training, {final.loss:.4g} on {len(data.test):,} samples held out"}
    if final.accuracy is not None:
        rows["accuracy"] = f"{final.accuracy:.2%} on {len(data.test):,} samples held out"
    for name, truth in data.truth.items():
        parameter = network.get_parameter(name).detach()
        rows[f"recovery of {name}"] = f"‖θ − θ*‖/‖θ*‖ = {float((parameter - truth).norm() / truth.norm()):.2e}"
    rows["diagnosis"] = "\n".join(diagnose(records[0])) or "the gradients are neither vanishing nor exploding"
    rows["speed"] = f"{len(records) / seconds:,.0f} steps a second, {len(records):,} steps in {seconds:.1f} s"
    rows["run"] = f"{directory}: certificate.json, gradients.png, weights.safetensors, config.yaml, TensorBoard's events"
    return rows


def load(settings: Mapping[str, Any]) -> Any:
    """The data set that `data._target_` names, a function of `nets.data`."""
    import nets.data
    from nets.errors import InputError

    target = str(settings.get("_target_"))
    functions = {f"nets.data.{name}": function for name, function in inspect.getmembers(nets.data, inspect.isfunction)}
    # Only these: a target of Hydra's may be any function that Python can import, torch.load among them.
    if target not in functions:
        raise InputError(f"data._target_ is '{target}'; expected one of {', '.join(sorted(functions))}.")
    return call(functions[target], {key: value for key, value in settings.items() if key != "_target_"}, "data")


def call(function: Callable[..., Any], settings: Mapping[str, Any], section: str, **given: Any) -> Any:
    """`function(**settings, **given)`, after a look at the names: one that it does not know is the user's slip."""
    from nets.errors import InputError

    known = [name for name in inspect.signature(function).parameters if name not in given]
    for key in settings:
        if key not in known:
            raise InputError(f"{section}.{key} is not a setting; {closest(key, known)}")
    return function(**settings, **given)


def choose(settings: Mapping[str, Any], key: str, among: Mapping[str, Any]) -> Any:
    """What the setting names."""
    from nets.errors import InputError

    if settings[key] not in among:
        raise InputError(f"{key} is '{settings[key]}'; expected one of {', '.join(among)}.")
    return among[settings[key]]


def whole(settings: Mapping[str, Any], key: str, least: int, section: str = "") -> int:
    """A setting that is a whole number."""
    from nets.errors import InputError

    value = settings[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{section}{key} is {value}; expected a whole number from {least} up.")
    return value


def new_directory(wanted: str | None, name: str) -> Path:
    """An empty directory for the run: the one that was asked for, or one named after the experiment and the time."""
    from nets.errors import InputError

    if wanted is not None:
        directory = Path(wanted)
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise InputError(f"run_dir is '{wanted}', which is there already; expected a new directory, so that no run is overwritten: choose another.")
        directory.mkdir(parents=True, exist_ok=True)
        return directory
    stem = Path("runs") / name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for directory in _numbered(stem):
        try:
            directory.mkdir(parents=True)
            return directory
        except FileExistsError:
            continue
    raise AssertionError("unreachable: there are infinitely many numbers")


def _numbered(stem: Path) -> Iterator[Path]:
    yield stem
    number = 1
    while True:
        number += 1
        yield stem.with_name(f"{stem.name}_{number}")


def closest(word: str, known: list[str]) -> str:
    """The one that was probably meant, for a slip of the keyboard; the whole list for anything else."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(known)}."


def sentence(error: BaseException) -> str | None:
    """What a user needs to know of an error that is theirs to mend, in one sentence; None if it is ours."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"there is no {group} called '{option}'; {closest(option, list(error.options or []))}"
    if isinstance(error, ConfigCompositionException) and str(error).startswith("Could not override"):
        key = str(error).split("'")[1]
        return f"'{key}' is not a setting; {closest(key, keys())}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return f"the settings cannot be read: {' '.join(str(error).split())} (see python train.py --help)."
    nets_errors = sys.modules.get("nets.errors")
    ours = () if nets_errors is None else (nets_errors.InputError, nets_errors.GradientError, nets_errors.DivergenceError)
    return str(error) if isinstance(error, ours) else None


def keys() -> list[str]:
    """Every setting there is, in every file of the configuration."""
    found: list[str] = []
    for path in [CONFIGS / "train.yaml", *sorted(CONFIGS.glob("d*/*.yaml"))]:
        section = "" if path.parent == CONFIGS else f"{path.parent.name}."
        for key, value in OmegaConf.to_container(OmegaConf.load(path)).items():  # type: ignore[union-attr]
            nested = [f"{key}.{inner}" for inner in value] if isinstance(value, dict) and key != "hydra" else [str(key)]
            found += [section + name for name in nested if name not in ("defaults", "hydra", "_target_")]
    return list(dict.fromkeys([*(path.name for path in CONFIGS.iterdir() if path.is_dir()), *found]))


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train")
def app(config: DictConfig) -> None:
    """The experiment, with an error of the user's told before Hydra gives its own account of it."""
    try:
        experiment(config)
    except Exception as error:
        tell(error)


def tell(error: Exception) -> None:
    """Print the sentence and end with status 1; an error of ours, or one whose traceback is wanted, goes on its way."""
    text = sentence(error)
    if TRACEBACK_WANTED or text is None:
        raise error
    print(text, file=sys.stderr)
    raise SystemExit(1)


def main() -> None:
    """Exit status 0 for a run that ended as it should; 1 for one that did not, after one sentence that says why."""
    try:
        app()
    except KeyboardInterrupt:
        print("interrupted; what was written up to here is in the run directory.", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        tell(error)


if __name__ == "__main__":
    main()
