"""Records on the TensorBoard page, and the texts, histograms and pictures beside them."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Chart, Layout, MultilineChartContent

from nets.errors import InputError
from nets.records.layer_statistics import Snapshot
from nets.records.noise_scale import RunningNoise
from nets.records.step import Step
from nets.telemetry.tensorboard.buffered_writer import BufferedWriter
from nets.telemetry.tensorboard.columns import columns
from nets.telemetry.tensorboard.events import EventFile, Value, histogram_values, scalar_values, string_value

if TYPE_CHECKING:
    from torch import Tensor

    from nets.records.certificate import Certificate


class Board:
    """A run in TensorBoard. Use it as a context manager; nothing here feeds back into the run.

    ======================================  ===========================================================================
    tag                                     what
    ======================================  ===========================================================================
    `loss/train`                            ℓ(θ) of the step's batch, before the update
    `gradient_norm/<parameter>`, `/total`   ‖∂ℓ/∂θ_p‖; (Σ_p ‖∂ℓ/∂θ_p‖²)^½
    `gradient_norm/clipped`                 (Σ_p ‖Ĝ_p‖²)^½ of the clipped gradients, where they are clipped
    `update_ratio/<parameter>`              ‖Δθ_p‖ / ‖θ_p‖
    `learning_rate`                         η of the step
    `accumulation/<parameter>/…`            where a gradient is a sum: `norm micro 2`, ‖G_m‖ of the second micro-batch,
                                            or `norm rank 1`; `cosine micro 2`, to the sum of those before;
                                            `agreement`, ‖Σ w_m G_m‖ / Σ w_m ‖G_m‖; `largest share`,
                                            max w_m ‖G_m‖ / Σ w_m ‖G_m‖; `residual` of the sum (see Accumulation)
    `accumulation/weight micro 2`, …        w_m
    `sample_norm/<parameter>/mean`,         1/N Σ_n ‖∂ℓ_n/∂θ_p‖ and max_n ‖∂ℓ_n/∂θ_p‖, with ℓ_n the loss of sample n
    `/largest`                              alone, where `descend` was given `sample_norms=True`
    `noise_scale`, `/batch_size`            B = tr Σ / ‖G‖² of averages over the last hundred steps or so (see
                                            RunningNoise), and the power of two nearest to it
    `loss/test`, `accuracy/test`            of the samples held out, at the steps where they were evaluated
    `cotangent/<layer>`                     ‖∂ℓ/∂Y‖ at the output of a layer, at each snapshot
    `attenuation/<layer>/measured`          ‖∂ℓ/∂Y‖ / ‖∂ℓ/∂X‖ of a layer, likewise; `/predicted`: 1/(weight · slope)
    `slope/<activation>/rms`                (mean f′²)^½; `/flat`: share of |f′| < 0.01, `/dead`: of dead units or
                                            channels
    `softmax/<layer>/entropy`               mean −Σ_s P log P of the rows of an attention, or of a softmax, in nats;
                                            `/saturated`: share of the rows with max_s P > 0.99. Rows that see a single
                                            position do not count
    `histogram/parameter/<parameter>`       θ_p, at the steps where it was given
    `histogram/gradient/<parameter>`        ∂ℓ/∂θ_p, likewise
    `run/…`                                 the texts `certificate`, `config`, `diagnosis`, `sample`, and pictures, in
                                            one group each, since the page opens no more than two
    ======================================  ===========================================================================

    The page's Custom Scalars tab gathers the gradient norms in one chart, the update ratios in a second, the
    losses in a third, the attenuation of every layer in a fourth, and what accumulation shows in two more.

    Args:
        log_dir: the directory for `tensorboard --logdir`; it is made where it does not exist.

    Raises:
        InputError: nothing can be written at `log_dir`.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        self.log_dir = Path(log_dir)
        self._events = EventFile(log_dir)
        self._has_layout = False
        self._noise = RunningNoise()
        self._steps = BufferedWriter(partial(_write_steps, self._events, self._noise), self._events.close)

    def write(
        self,
        step: Step,
        *,
        test_loss: float | None = None,
        test_accuracy: float | None = None,
        parameters: "Mapping[str, Tensor] | None" = None,
        gradients: "Mapping[str, Tensor] | None" = None,
        snapshot: Snapshot | None = None,
    ) -> None:
        """One Event with every number of `step`, and with what else is given.

        It is on disk a second later, or when the board is closed.

        Args:
            step: the record.
            test_loss: ℓ on the samples held out.
            test_accuracy: the share of these samples that is classified right, 0 to 1.
            parameters: parameter → θ_p, for histograms.
            gradients: parameter → ∂ℓ/∂θ_p, for histograms.
            snapshot: the statistics of the layers.
        """
        self._write_layout(accumulates=step.accumulation.block is not None)
        if all(extra is None for extra in (test_loss, test_accuracy, parameters, gradients, snapshot)):
            self._steps.add(step)
            return
        self._steps.flush()
        values = scalar_values({tag: float(column[0]) for tag, column in columns([step], self._noise).items()})
        values += _evaluation(test_loss, test_accuracy) + _histograms(parameters, gradients) + _layers(snapshot)
        self._events.write(step.step, values)

    def evaluation(self, step_number: int, loss: float, accuracy: float | None = None) -> None:
        """Loss and accuracy on the samples held out, without a Step: before the first, for example."""
        self._events.write(step_number, _evaluation(loss, accuracy))

    def numbers(self, step_number: int, numbers: Mapping[str, float]) -> None:
        """Other numbers, `{tag: number}`, without a Step."""
        self._events.scalars(step_number, numbers)

    def histograms(
        self,
        step_number: int,
        parameters: "Mapping[str, Tensor]",
        gradients: "Mapping[str, Tensor] | None" = None,
    ) -> None:
        """Histograms of every parameter and gradient, without a Step."""
        self._events.write(step_number, _histograms(parameters, gradients))

    def snapshot(self, snapshot: Snapshot) -> None:
        """The statistics of the layers, without a Step: before the first, for example."""
        self._events.write(snapshot.updates, _layers(snapshot))

    def diagnosis(self, sentences: Sequence[str], table: str) -> None:
        """The faults of the gradients, if there are any, and the table of the layers, on the Text page."""
        said = "\n".join(f"* {sentence}" for sentence in sentences) or "**healthy**"
        self._events.text("run/diagnosis", f"{said}\n\n{_fenced(table)}")

    def certificate(self, certificate: "Certificate") -> None:
        """The certificate on the Text page: its verdict, and its table as it is printed."""
        self._events.text("run/certificate", f"**{certificate.verdict}**\n\n{_fenced(str(certificate))}")

    def sample(self, text: str) -> None:
        """A text that the network wrote, on the Text page; nothing where it is empty."""
        if text:
            self._events.text("run/sample", _fenced(text))

    def config(self, yaml_text: str) -> None:
        """The resolved configuration on the Text page."""
        self._events.text("run/config", _fenced(yaml_text, "yaml"))

    def picture(self, tag: str, path: str | os.PathLike[str], step: int = 0) -> None:
        """A PNG file on the Images page.

        Raises:
            InputError: the file cannot be read or is no PNG file.
        """
        try:
            png = Path(path).read_bytes()
        except OSError as error:
            raise InputError(
                f"The picture '{os.fspath(path)}' cannot be read ({error.strerror or error}): name a PNG file that "
                f"exists."
            ) from error
        self._events.image(tag, png, step)

    def flush(self) -> None:
        """Hand everything written so far to the operating system."""
        self._steps.flush()

    def close(self) -> None:
        """Close the event file. A second call does nothing."""
        try:
            self._write_layout(accumulates=False)
        finally:
            self._steps.close()

    def _write_layout(self, accumulates: bool) -> None:
        """The charts of the Custom Scalars tab, once; none that would stay empty."""
        if not self._has_layout:
            self._has_layout = True
            self._events.write(0, [_layout(accumulates)])

    def __enter__(self) -> "Board":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _write_steps(events: EventFile, noise: RunningNoise, steps: list[Step], times: list[float]) -> None:
    """One Event for each step, for each run of steps with the same tags."""
    start = 0
    for _, group in groupby(steps, key=lambda step: (id(step.block), id(step.accumulation.block))):
        own = list(group)
        found = columns(own, noise)
        rows = slice(start, start := start + len(own))
        events.block(tuple(found), [step.step for step in own], times[rows], np.stack(list(found.values()), 1))


def _evaluation(loss: float | None, accuracy: float | None) -> list[Value]:
    known = {"loss/test": loss, "accuracy/test": accuracy}
    return scalar_values({tag: number for tag, number in known.items() if number is not None})


def _layers(snapshot: Snapshot | None) -> list[Value]:
    if snapshot is None:
        return []
    numbers: dict[str, float] = {}
    for layer in snapshot.layers:
        numbers[f"cotangent/{layer.name}"] = layer.cotangents[0]
        numbers[f"attenuation/{layer.name}/measured"] = layer.measured
        numbers[f"attenuation/{layer.name}/predicted"] = layer.predicted
        for one in layer.activations:
            numbers |= {
                f"slope/{one.name}/rms": one.rms,
                f"slope/{one.name}/flat": one.flat,
                f"slope/{one.name}/dead": one.dead,
            }
    for name, own in snapshot.statistics.items():
        numbers |= {f"softmax/{name}/{what}": number for what, number in own.items()}
    return scalar_values(numbers)


def _histograms(parameters: "Mapping[str, Tensor] | None", gradients: "Mapping[str, Tensor] | None") -> list[Value]:
    values: list[Value] = []
    for group, tensors in (("parameter", parameters or {}), ("gradient", gradients or {})):
        for name, tensor in tensors.items():
            values += histogram_values(f"histogram/{group}/{name}", tensor)
    return values


def _fenced(text: str, language: str = "") -> str:
    """`text` as a Markdown block that is shown as it is, with a fence longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _layout(accumulates: bool) -> Value:
    """Charts for the Custom Scalars tab. Their tags are patterns, so they fit any network."""
    titles = {
        "gradient norm per parameter": r"gradient_norm/.*",
        "update ratio per parameter": r"update_ratio/.*",
        "loss": r"loss/.*",
        "attenuation per layer": r"attenuation/.*",
    }
    if accumulates:
        titles |= {
            "how far the contributions agree": r"accumulation/.*/agreement",
            "gradient noise scale": r"noise_scale.*",
        }
    charts = [Chart(title=title, multiline=MultilineChartContent(tag=[pattern])) for title, pattern in titles.items()]
    layout = Layout(category=[Category(title="gradients at a glance", chart=charts)])
    return string_value("custom_scalars__config__", "custom_scalars", layout.SerializeToString())
