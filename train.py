"""`python train.py experiment=tanh_linear`: verify the gradients, train, report. The only file that uses Hydra."""

import contextlib
import copy
import dataclasses
import functools
import os
import re
import sys
import textwrap
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

CONFIGS = Path(__file__).resolve().parent / "configs"
HELP = """\
python train.py [experiment=NAME] [SETTING=VALUE ...]

Verifies every derivative of a network, trains it, and shows its gradients in TensorBoard.
With -m, SETTING=VALUE,VALUE makes one run for each value. With HYDRA_FULL_ERROR=1, errors show their traceback.

Groups, and the options of each:
{groups}

Settings, with the options that you have chosen:
{settings}"""
TRACEBACK_WANTED = os.environ.get("HYDRA_FULL_ERROR") == "1"


def experiment(
    *, name: str, config: str, data: dict, network: dict, loss: dict, descent: dict, optimizer: dict | None,
    schedule: dict | None, verification: dict, evaluation: dict,
    explain: str | None, explain_loss: str | None, explanation: dict,
    mistake: str | None, seed: int, dtype: str, device: str, run_dir: str | None,
    ranks: Any,
) -> None:  # fmt: skip
    """Config → data → network → certificate → explanation → descent → records → board."""
    # Imported here, so that --help does not load torch.
    import torch
    from rich.console import Console

    import nets
    from nets.calculus.architectures.registry import network_of, sibling_of
    from nets.calculus.losses.chosen import loss_of
    from nets.data.chosen import data_set_of
    from nets.lessons import mistakes
    from nets.settings import call
    from nets.telemetry import exit_on_sigterm
    from nets.telemetry.figures.jacobian_figure import jacobian_figure
    from nets.telemetry.screen import say, summary
    from nets.telemetry.tensorboard.board import Board
    from nets.telemetry.tensorboard.directory import new_directory, tensorboard
    from nets.training.evaluation import continued
    from nets.training.fitting import expect_fit
    from nets.training.rule_settings import rule_of
    from nets.validation import device as device_of
    from nets.validation import one_of, seeded, whole
    from nets.verification.chosen import verification_of
    from nets.verification.side_by_side import jacobian_views

    # All input is checked before anything is written.
    precision = getattr(torch, one_of("dtype", dtype, ("float32", "float64")))
    place = device_of("device", device)
    objective = loss_of(loss)
    samples = data_set_of(data).to(precision)
    model = network_of(network, samples.classes, seeded(seed)).to(precision)
    for part in (samples.train, samples.test):
        expect_fit(model, objective, part)
    measured = evaluation.get("samples")
    if measured is not None:
        whole("evaluation.samples", measured, 1)
    sibling = sibling_of(network)
    proved, points = (model, samples.train.inputs) if sibling is None else (sibling.network, sibling.inputs)
    prove = call(verification_of, verification, "verification", model=proved, inputs=points, seed=seed)
    count = explanation.pop("samples")
    seen = samples.train.take(slice(0, None if count is None else whole("explanation.samples", count, 1)))
    explained: list[Any] = []
    if explain is not None:
        about = {"network": model, "x": samples.train.inputs, "parameter": explain, "index": None}
        explained.append(call(nets.explain, explanation, "explanation", **about))
    if explain_loss is not None:
        about = {"loss": objective, "targets": seen.targets}
        explained.append(nets.explain_loss(model, seen.inputs, explain_loss, **about))
    trained, samples = copy.deepcopy(model).to(place), samples.to(place)
    made = rule_of(optimizer, schedule, descent, len(samples.train))
    others = {key: value for key, value in descent.items() if key not in made}
    given = {"data": samples.train, "loss": objective, "seed": seed, **made}
    follow = functools.partial(call, nets.descend, others, "descent", **given)
    mistaken = mistakes.mistaken_gradient(mistake, ranks.count)
    steps = follow(network=trained, gradient_source=mistaken or ranks)
    if ranks.rank > 0:
        return ranks.follow(steps)

    console = Console()
    directory = new_directory(run_dir, name)
    size = f"{name}: {sum(map(torch.numel, model.parameters())):,} parameters"
    say(console, f"{size}; checking every derivative{'' if sibling is None else ' of a sibling'} ...\n")
    try:
        certificate = prove()
    except BaseException:
        with contextlib.suppress(OSError):  # Both are removed if they are empty.
            directory.rmdir()
            directory.parent.rmdir()
        raise
    if sibling is not None:
        certificate = dataclasses.replace(certificate, notes=(sibling.note, *certificate.notes))
    exit_on_sigterm()  # SIGTERM then ends the run like Ctrl-C: the records are written
    with Board(directory) as board:
        (directory / "config.yaml").write_text(config, encoding="utf-8")
        board.config(config)
        (directory / "certificate.json").write_text(certificate.to_json(), encoding="utf-8")
        board.certificate(certificate)
        say(console, f"{certificate}\n")
        jacobian_figure(jacobian_views(proved, points[: verification["samples"]]), directory / "jacobians.png")
        board.picture("run/jacobians", directory / "jacobians.png")
        if certificate.verdict == "fail":
            fault = certificate.sentence().rstrip(".")
            raise nets.GradientError(f"{fault}; no step was made, and the certificate is in {directory}.")
        for document in explained:
            document.save(directory)
            say(console, f"{document}\n")
        if mistaken is not None:
            say(console, f"{mistaken.mistake.formula}\n\n{mistakes.table(mistaken.mistake)}\n")
            steps = mistaken.compared(steps, follow(network=copy.deepcopy(trained)), board.numbers)
        try:
            with ranks.together():
                rows = train(trained, steps, samples, objective, descent, measured, board, console, directory)
                text = continued(trained, samples, seed)
                board.sample(text)
        except (nets.DivergenceError, nets.RankError, KeyboardInterrupt) as end:
            raise type(end)(f"{str(end).rstrip('.') or 'interrupted'}; what was recorded is in {directory}.") from end
    if mistaken is not None:
        rows |= mistaken.summary(functools.partial(nets.check_accumulation, trained, objective))
    if text:
        say(console, f"A sample of the text that the network writes:\n\n{text}\n")
    proof = certificate.sentence() if sibling is None else f"{certificate.sentence()} {sibling.note.capitalize()}."
    rows = {"certificate": proof, **rows}
    room = console.width - 2 - max(map(len, rows)) if console.is_terminal else sys.maxsize
    rows = {title: "\n".join(textwrap.wrap(text, room, break_on_hyphens=False)) for title, text in rows.items()}
    summary(console, {**rows, "run": str(directory), "TensorBoard": tensorboard(directory)})


def train(
    network: Any, steps: Iterable[Any], data: Any, loss: Any, descent: dict, held_out: int | None, board: Any,
    console: Any, directory: Path,
) -> dict[str, str]:  # fmt: skip
    """Run the descent to its end and write every record. Returns the summary of the run as {title: text}."""
    import safetensors.torch

    from nets.telemetry.accumulation_summary import accumulation_summary
    from nets.telemetry.report import report
    from nets.telemetry.screen import progress, say
    from nets.training.descend import count_steps
    from nets.training.evaluation import evaluate
    from nets.training.gradients.layer_statistics import snapshot

    total = count_steps(len(data.train), *(descent.get(key) for key in ("epochs", "steps", "batch_size")))
    measured = {1, total, *range(0, total, max(1, total // 50))}
    histograms = {1, total, *range(0, total, max(1, total // 5))}
    named = dict(network.named_parameters())
    probe_batch, test_part = data.train.take(slice(0, 256)).spread(held_out), data.test.spread(held_out)
    records, snapshots = [], [snapshot(network, loss, probe_batch)]
    board.snapshot(snapshots[0])
    started = time.perf_counter()
    try:
        with contextlib.closing(progress(steps, total, console)) as followed:
            for step in followed:
                records.append(step)
                seen: dict[str, Any] = {}
                if step.step in measured:
                    test = evaluate(network, loss, test_part, data.classes)
                    snapshots.append(snapshot(network, loss, probe_batch, step.step))
                    seen |= {"test_loss": test.loss, "test_accuracy": test.accuracy, "snapshot": snapshots[-1]}
                if step.step in histograms:
                    seen |= {"parameters": named, "gradients": {key: p.grad for key, p in named.items()}}
                board.write(step, **seen)
    except BaseException:
        # However the descent ends, the records up to that point are reported.
        if records:
            snapshots.append(snapshot(network, loss, probe_batch, len(records)))
            said = report(records, snapshots, board, directory)
            say(console, "\n".join(["", *said.faults, "", said.layers]))
        raise
    seconds = time.perf_counter() - started
    said = report(records, snapshots, board, directory)
    say(console, f"\n{said.layers}\n")
    (directory / "weights.safetensors").write_bytes(safetensors.torch.save(dict(network.state_dict())))

    fitted = data.train.spread(held_out)
    fit, test = (evaluate(network, loss, part, data.classes) for part in (fitted, data.test))
    rows = {"loss": f"{fit.loss:.4g} on {len(fitted):,} samples, {test.loss:.4g} on {len(data.test):,} held out"}
    if test.accuracy is not None:
        rows["accuracy"] = f"{test.accuracy:.2%} of the {test.counted:,} {data.counted} held out"
    for key, truth in data.truth.items():
        if key in named and named[key].shape == truth.shape:
            rows[f"{key} found"] = f"‖θ − θ*‖/‖θ*‖ = {float((named[key].detach() - truth).norm() / truth.norm()):.2e}"
    rows["diagnosis"] = said.diagnosis
    rows |= accumulation_summary(records, data.counted)
    rows["speed"] = f"{len(records) / seconds:,.0f} steps a second, {len(records):,} steps in {seconds:.1f} s"
    return rows


def sentence(error: BaseException) -> str | None:
    """The sentence for an error that the user can correct; None for a defect of the program."""
    if type(error).__module__ == "nets.errors":  # their messages are written for a user
        return str(error)
    if isinstance(error, OSError):
        fault = f"'{error.filename}' cannot be read or written ({error.strerror})"
        return f"{fault}: correct that, or set run_dir to another directory."
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "there is not enough memory: make network.sizes, verification.samples or descent.batch_size smaller."
    return composition_error(error) if isinstance(error, OmegaConfBaseException) else None


def composition_error(error: BaseException) -> str:
    """What is wrong with settings that Hydra could not compose."""
    from nets.settings import suggestion

    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return (
            f"there is no {group or 'configuration'} called '{option}'; {suggestion(option, list(error.options or []))}"
        )
    if isinstance(error, MissingMandatoryValue):
        return f"'{error.full_key}' has no value, and needs one: add {error.full_key}=VALUE to the command line."
    if isinstance(error, OverrideParseException):
        return (
            f"'{error.override}' is not KEY=VALUE: close each bracket, and quote unusual text twice "
            "('KEY=\"my file\"')."
        )
    if text.startswith("Ambiguous value"):
        return f"{text.splitlines()[0]}: add -m to make a run with each, or write brackets around a list."
    if isinstance(error, ConfigCompositionException) and text.startswith("Could not override"):
        return unknown_setting(text.split("'")[1])
    return f"the settings cannot be read ({' '.join(text.split())}): python train.py --help lists all settings."


def unknown_setting(key: str) -> str:
    """The sentence for an unknown setting: misspelt, or of a data set or a descent that was not chosen."""
    from nets.settings import suggestion

    known = [path.name for path in CONFIGS.iterdir() if path.is_dir()]
    groups = ("data", "network", "loss", "descent", "optimizer", "schedule")
    for path in [CONFIGS / "train.yaml", *(path for group in groups for path in CONFIGS.glob(f"{group}/*.yaml"))]:
        choice = "" if path.parent == CONFIGS else f"{path.parent.name}={path.stem}"
        for name, value in OmegaConf.to_container(OmegaConf.load(path)).items():  # type: ignore[union-attr]
            full = f"{path.parent.name}.{name}" if choice else str(name)
            if full == key:
                return f"'{key}' is a setting of {choice}, which was not chosen: add {choice}."
            known += [full, *(f"{full}.{inner}" for inner in (value if isinstance(value, dict) else ()))]
    return f"'{key}' is not a setting; {suggestion(key, list(dict.fromkeys(known)))}"


def exit_after(error: BaseException, text: str | None) -> NoReturn:
    """Exit with status 1 after one sentence; after a traceback if the user asked for it or the program has a defect."""
    if TRACEBACK_WANTED or text is None:
        traceback.print_exception(error)
    else:
        print(text.replace("\n", " "), file=sys.stderr)
    raise SystemExit(1) from error


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train")
def app(config: DictConfig) -> None:
    """The experiment. Its errors are reported here, before Hydra prints them in its own form."""
    try:
        settings: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        from nets.settings import call
        from nets.training.parallel.ranks import joined
        from nets.training.rule_settings import descent_of

        name = HydraConfig.get().runtime.choices.get("experiment") or "unnamed"
        settings["descent"] = descent_of(settings["descent"], settings["optimizer"], HydraConfig.get().overrides.task)
        with joined() as ranks:
            call(experiment, settings, name=name, config=OmegaConf.to_yaml(settings), ranks=ranks)
    except Exception as error:
        exit_after(error, sentence(error))


def print_help() -> None:
    """Print the text of `--help`. Hydra would read every file of every group three times to list their names."""
    folders = sorted(path for path in CONFIGS.iterdir() if path.is_dir())
    groups = (f"{folder.name}: {', '.join(sorted(path.stem for path in folder.glob('*.yaml')))}" for folder in folders)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = compose("train", [word for word in sys.argv[1:] if not word.startswith("-")])
    print(HELP.format(groups="\n".join(groups), settings=OmegaConf.to_yaml(settings)))


def main() -> None:
    """Exit status 0 for a complete run; otherwise 1, after one sentence with the reason."""
    # With this setting Hydra passes errors on instead of printing them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # The shell removes the quotes of explain='0.weight[2,3]'; without them Hydra cannot read the brackets.
    sys.argv = [re.sub(r"^(explain(?:_loss)?=)([\w.]+\[[^'\"]*)$", r"\1'\2'", word) for word in sys.argv]
    try:
        print_help() if {"-h", "--help"} & {*sys.argv} else app()
    except KeyboardInterrupt as interruption:
        print(str(interruption) or "interrupted; nothing was recorded.", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        exit_after(error, composition_error(error))


if __name__ == "__main__":
    main()
