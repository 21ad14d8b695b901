"""The usual mistakes in a training loop of PyTorch, each with the gradient that it leaves, in closed form.

G_m is the gradient of micro-batch m, w_m its share of the samples, and P what the step before left in `.grad`. Right is
Σ_m w_m G_m. Each mistake leaves p P + Σ_m c_m G_m instead, with its own p and c_m.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch
from nets.errors import InputError
from nets.records.contributions import Accumulation
from nets.records.step import Step
from nets.text import aligned
from nets.training.gradients.backpropagation import backpropagate
from nets.training.gradients.source import BatchGradient, GradientFunction, GradientSpec
from nets.validation import one_of

Pairs = list[tuple[Any, Any]]


def forgot_zero_grad(module: nn.Module, loss: Any, micro_batches: Pairs) -> None:
    """zero_grad is missing."""
    for x, target in micro_batches:
        (loss(module(x), target) * len(x) / _samples(micro_batches)).backward()


def backward_twice(module: nn.Module, loss: Any, micro_batches: Pairs) -> None:
    """backward is called twice; the graph is kept for the second call."""
    module.zero_grad()
    for x, target in micro_batches:
        value = loss(module(x), target) * len(x) / _samples(micro_batches)
        value.backward(retain_graph=True)
        value.backward()


def ragged(module: nn.Module, loss: Any, micro_batches: Pairs) -> None:
    """loss / K, though the K micro-batches differ in size."""
    module.zero_grad()
    for x, target in micro_batches:
        (loss(module(x), target) / len(micro_batches)).backward()


def zero_grad_misplaced(module: nn.Module, loss: Any, micro_batches: Pairs) -> None:
    """zero_grad is called in the inner loop, one line too low."""
    for x, target in micro_batches:
        module.zero_grad()
        (loss(module(x), target) * len(x) / _samples(micro_batches)).backward()


def _samples(micro_batches: Pairs) -> int:
    return sum(len(x) for x, _ in micro_batches)


@dataclass(frozen=True, slots=True)
class Mistake:
    """A loop with a mistake.

    Attributes:
        name: of the loop.
        formula: the gradient that it leaves, in words and in index form.
        loop: one window of it, as people write it: it leaves its gradient in `.grad`.
        carry: p.
        coefficients: the w_m → the c_m.
        example: windows of micro-batches of the numbers v = 1, 10, 100, 1000.
    """

    name: str
    formula: str
    loop: Callable[[nn.Module, Any, Pairs], None]
    carry: float
    coefficients: Callable[[tuple[float, ...]], tuple[float, ...]]
    example: tuple[tuple[tuple[float, ...], ...], ...]

    def predicted(self, before: Tensor, parts: list[Tensor], weights: tuple[float, ...]) -> Tensor:
        """p P + Σ_m c_m G_m."""
        return sum((c * part for c, part in zip(self.coefficients(weights), parts, strict=True)), self.carry * before)


ONE_BY_ONE = tuple(((v,),) for v in (1.0, 10.0, 100.0, 1000.0))
TOGETHER = (((1.0,), (10.0,), (100.0,), (1000.0,)),)

MISTAKES = {
    mistake.name: mistake
    for mistake in (
        Mistake(
            "forgot_zero_grad",
            "without zero_grad, .grad holds the gradients of all steps: Σ_s≤t G_s where G_t is right, a momentum of 1",
            forgot_zero_grad,
            1.0,
            lambda w: w,
            ONE_BY_ONE,
        ),
        Mistake(
            "backward_twice",
            "a second backward pass adds the same again: 2 G where G is right, a learning rate of 2 η",
            backward_twice,
            0.0,
            lambda w: tuple(2 * x for x in w),
            ONE_BY_ONE,
        ),
        Mistake(
            "ragged",
            "loss / K gives each micro-batch the weight 1/K: 1/K Σ_m G_m where Σ_m N_m/N G_m is right",
            ragged,
            0.0,
            lambda w: (1 / len(w),) * len(w),
            (((1.0, 10.0, 100.0), (1000.0,)),),
        ),
        Mistake(
            "zero_grad_misplaced",
            "zero_grad inside the window leaves the last micro-batch alone: w_K G_K where Σ_m w_m G_m is right",
            zero_grad_misplaced,
            0.0,
            lambda w: (*(0.0,) * (len(w) - 1), w[-1]),
            TOGETHER,
        ),
    )
}


def mistaken_gradient(name: str | None, processes: int) -> "MistakenGradient | None":
    """A gradient source with the mistake of that name; None without a name.

    Raises:
        InputError: for an unknown name, or in several processes.
    """
    if name is None:
        return None
    mistake = MISTAKES[one_of("mistake", name, tuple(MISTAKES))]
    if processes > 1:
        raise InputError(f"mistake={name} was given to {processes} processes; expected one: leave torchrun away.")
    return MistakenGradient(mistake)


class Row(NamedTuple):
    """The gradient of one window: right, predicted for the mistake, and measured."""

    right: float
    predicted: float
    measured: float


class Square(nn.Module):
    """y = v x² at x = 1, where the samples of a micro-batch are its v: dy/dx = 2 v."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, v: Tensor) -> Tensor:
        """v x²."""
        return v * self.x**2


def example(mistake: Mistake) -> list[Row]:
    """x.grad after each window of the example, for y = v x² at x = 1 and a loss that is the mean of y."""
    module, before, rows = Square(), torch.zeros((), dtype=torch.float64), []
    for window in mistake.example:
        micro_batches = [(torch.tensor(v, dtype=torch.float64), None) for v in window]
        parts = [2 * v.mean() for v, _ in micro_batches]
        weights = tuple(len(v) / _samples(micro_batches) for v, _ in micro_batches)
        right = sum(w * float(part) for w, part in zip(weights, parts, strict=True))
        before = mistake.predicted(before, parts, weights)
        mistake.loop(module, lambda y, _: y.mean(), micro_batches)
        assert module.x.grad is not None
        rows.append(Row(right, float(before), float(module.x.grad)))
    return rows


class MistakenGradient:
    """The gradient that a mistake leaves, for `descend`, with its error ‖found − right‖ / ‖right‖ predicted and
    measured.

    Measured is what PyTorch's own backward passes leave in `.grad`; right and predicted are computed from closed forms.

    Attributes:
        mistake: the loop with the mistake.
        rows: for each step, 0, and the error predicted and measured.
        deviation: the largest ‖found − predicted‖ / ‖predicted‖ so far.
        window: (input, target) of each micro-batch of the last step.
    """

    def __init__(self, mistake: Mistake) -> None:
        self.mistake = mistake
        self.rows: list[Row] = []
        self.deviation = 0.0
        self.window: Pairs = []
        self._before: dict[str, Tensor] = {}
        self._losses = math.nan, math.nan

    def prepare(self, spec: GradientSpec) -> GradientFunction:
        """The gradient that the mistake leaves, batch by batch. So `descend` takes it as a gradient source.

        The backward passes are PyTorch's, whatever the engine.

        Raises:
            InputError: where a batch is one micro-batch and the mistake needs several, or sample norms are asked for.
        """
        if spec.sample_norms:
            raise InputError(
                "sample_norms=True was given with a mistake; expected one of the two: PyTorch's loop has no such norms."
            )
        if spec.micro_batch_size is None and len(self.mistake.example[0]) > 1:
            raise InputError(
                f"the mistake {self.mistake.name} needs several micro-batches, and a batch is one; expected a "
                "micro_batch_size below batch_size: set descent.micro_batch_size, or descent=accumulated."
            )
        return lambda batch: self._wrong(spec.network, spec.loss, batch.split(spec.micro_batch_size or len(batch)))

    def _wrong(self, network: Network, loss: Loss, micro_batches: list[Batch]) -> BatchGradient:
        sizes = tuple(map(len, micro_batches))
        weights = tuple(size / sum(sizes) for size in sizes)
        parts = [backpropagate(network, loss, micro) for micro in micro_batches]
        self.window = [(micro.inputs, micro.targets) for micro in micro_batches]
        self.mistake.loop(network, loss, self.window)
        found = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        right, predicted = dict[str, Tensor](), dict[str, Tensor]()
        for name, gradient in found.items():
            own = [gradients[name] for _, gradients in parts]
            right[name] = sum((w * part for w, part in zip(weights, own, strict=True)), torch.zeros_like(gradient))
            predicted[name] = self.mistake.predicted(self._before.get(name, torch.zeros_like(gradient)), own, weights)
        self._before = predicted
        self.rows.append(Row(0.0, _distance(predicted, right), _distance(found, right)))
        self.deviation = max(self.deviation, _distance(found, predicted))
        value = sum((w * part for w, (part, _) in zip(weights, parts, strict=True)), torch.zeros_like(parts[0][0]))
        return BatchGradient(value, found, Accumulation(sizes, weights))

    def compared(
        self, steps: Iterator[Step], right: Iterator[Step], write: Callable[[int, dict[str, float]], None]
    ) -> Iterator[Step]:
        """Pass the steps through, while a descent without the mistake makes the same steps.

        Args:
            steps: of a descent with this gradient.
            right: of the descent without the mistake.
            write: is called with the number of each step and {tag: number}: the errors, and the loss without the
                mistake.
        """
        for step in steps:
            _, predicted, measured = self.rows[-1]
            numbers = {"mistake/error predicted": predicted, "mistake/error measured": measured}
            beside = next(right, None)
            write(step.step, numbers if beside is None else numbers | {"mistake/loss without it": beside.loss})
            self._losses = step.loss, math.nan if beside is None else beside.loss
            yield step

    def summary(self, check: Callable[[Pairs, Any], Any]) -> dict[str, str]:
        """The outcome as {title: text}, with the verdict of `nets.check_accumulation`.

        Args:
            check: `nets.check_accumulation` with the module and the loss; it is given the last window and the loop.
        """
        certificate = check(self.window, self.mistake.loop)
        caught = certificate.notes[-1] if certificate.passed else certificate.sentence()
        last = len(self.rows)
        shown = [n for n in (1, 2, 3, 10, 30, 100, 300, 1000) if n < last] + [last]
        cells = [[f"step {n:,}", *(f"{100 * error:,.2f} %" for error in self.rows[n - 1][1:])] for n in shown]
        widths = [max(map(len, row)) for row in cells]
        heads, predicted, measured = (
            "  ".join(row[i].rjust(w) for row, w in zip(cells, widths, strict=True)) for i in range(3)
        )
        return {
            "mistake": self.mistake.formula,
            "off by": heads,
            "  predicted": predicted,
            "  measured": f"{measured}  (the gradients are {self.deviation:.0e} apart)",
            "in the end": "loss {:.4g} at the last step with the mistake, {:.4g} without it".format(*self._losses),
            "caught by": f"nets.check_accumulation: {caught}",
        }


def table(mistake: Mistake) -> str:
    """The example as a table of text."""
    lines = ["x = 1, y = v x², dy/dx = 2 v; in each window x.grad should be the mean of 2 v", ""]
    windows = [
        " + ".join("{" + ", ".join(f"{v:g}" for v in micro) + "}" for micro in window) for window in mistake.example
    ]
    cells = [
        [window, f"{row.right:g}", f"{row.predicted:g}", f"{row.measured:g}"]
        for window, row in zip(windows, example(mistake), strict=True)
    ]
    return "\n".join(
        [*lines, *aligned([["v in the window", "right", "predicted", "measured"], *cells], right=(1, 2, 3))]
    )


def _distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """‖one − other‖ / ‖other‖, over all parameters."""
    difference = math.sqrt(sum(float((one[name] - other[name]).square().sum()) for name in one))
    return difference / max(math.sqrt(sum(float(tensor.square().sum()) for tensor in other.values())), 1e-300)
