"""Gradient norms of any PyTorch model and any loop, at every step, in TensorBoard."""

import os
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from types import TracebackType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nets.calculus.norms import norm_tensors
from nets.errors import InputError
from nets.telemetry.tensorboard.buffered_writer import MOST_ITEMS, BufferedWriter
from nets.telemetry.tensorboard.events import EventFile
from nets.validation import refusal, whole


class _Row(NamedTuple):
    """The record of one step: its number, the tags, and ℓ and the norms on the device of the gradients."""

    step: int
    tags: tuple[str, ...]
    values: Tensor


class GradientMonitor:
    """‖∂ℓ/∂θ_p‖ of every parameter p and (Σ_p ‖∂ℓ/∂θ_p‖²)^½, of the gradients as they are when `step` is called.

    ```python
    monitor = nets.GradientMonitor(model, "runs/mine")
    for x, target in batches:
        loss = loss_of(model(x), target)
        loss.backward()
        monitor.step(loss)            # before optimizer.step(), and after scaler.unscale_(optimizer) where there is one
        optimizer.step()
        optimizer.zero_grad()
    ```

    A step makes one call for all norms, whatever the number of parameters. They stay on the device of the model until
    many steps are written at once, and are accumulated in float32 at least, so that a norm in float16 does not
    overflow. They are on disk a second later, and after an exception, at exit, and when the monitor is no longer
    referenced. SIGTERM ends Python at once: call `nets.telemetry.exit_on_sigterm()` to make it an exit.

    The tags are those of `Board`: `loss/train`, `gradient_norm/<parameter>`, `gradient_norm/total`. A parameter without
    a gradient has no number at that step.

    Args:
        model: its parameters are watched: those that require a gradient now.
        log_dir: the directory for `tensorboard --logdir`; it is made where it does not exist.
        every: the number of steps between two records.

    Raises:
        InputError: for a model with nothing to watch, or a directory that cannot be written.
    """

    def __init__(self, model: nn.Module, log_dir: str | os.PathLike[str], every: int = 1) -> None:
        if not isinstance(model, nn.Module):
            raise refusal("the model", model, "a torch.nn.Module", "hand over the module that is trained")
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not named:
            raise InputError("the model has no parameter that requires a gradient; expected one to be watched.")
        self._names, self._parameters = tuple(named), tuple(named.values())
        wide = any(parameter.dtype in (torch.float64, torch.complex128) for parameter in self._parameters)
        self._dtype, self._device = torch.float64 if wide else torch.float32, self._parameters[0].device
        self._tags = {with_loss: _tags(self._names, with_loss) for with_loss in (False, True)}
        self._count, self._every = 0, whole("every", every, 1)
        self._free: list[Tensor] = []
        events = EventFile(log_dir)
        self._rows = BufferedWriter(partial(_write, events), events.close)

    @torch.no_grad()
    def step(self, loss: Tensor | float | None = None) -> None:
        """Keep the norms of the gradients as they are now, and ℓ."""
        self._count += 1
        if self._count % self._every:
            return
        gradients = [parameter.grad for parameter in self._parameters]
        try:
            # A missing gradient raises here, which costs nothing where all are present.
            norms, tags = norm_tensors(gradients, self._dtype), self._tags[loss is not None]  # type: ignore[arg-type]
        except (AttributeError, TypeError, RuntimeError, NotImplementedError):
            norms, tags = self._one_by_one(gradients, loss is not None)
        if loss is not None:
            if not isinstance(loss, Tensor | float | int | np.number):
                raise refusal("the loss", loss, "a number, or a tensor with one", "hand over ℓ, or nothing")
            value = torch.as_tensor(loss, dtype=self._dtype, device=self._device).detach()
            if value.numel() != 1:
                raise InputError(
                    f"the loss has shape {tuple(value.shape)}; expected one number: hand over its mean, or its sum."
                )
            norms = (value.reshape(()), *norms)
        if not norms:
            return
        if not self._free:
            shape = MOST_ITEMS, 1 + len(self._names)
            self._free = list(torch.empty(shape, dtype=self._dtype, device=self._device).unbind())
        row = self._free.pop()[: len(norms)]
        self._rows.add(_Row(self._count, tags, torch.stack(norms, out=row)))

    def flush(self) -> None:
        """Write all steps so far."""
        self._rows.flush()

    def close(self) -> None:
        """Write all steps so far and close the file. A second call does nothing."""
        self._rows.close()

    def __enter__(self) -> "GradientMonitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _one_by_one(
        self, gradients: list[Tensor | None], with_loss: bool
    ) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
        """The norms where a gradient is missing, sparse, complex or on another device."""
        found = {name: gradient for name, gradient in zip(self._names, gradients, strict=True) if gradient is not None}
        dense = [g.coalesce().values() if g.is_sparse else g for g in found.values()]
        real = [torch.view_as_real(g) if g.is_complex() else g for g in dense]
        norms = tuple(norm_tensors([g], self._dtype)[0].to(self._device, non_blocking=True) for g in real)
        return norms, _tags(tuple(found), with_loss)


def _write(events: EventFile, rows: Sequence[_Row], times: Sequence[float]) -> None:
    """One Event for each row, for each run of rows with the same tags."""
    start = 0
    for tags, group in groupby(rows, key=lambda row: row.tags):
        own = list(group)
        values = torch.stack([row.values for row in own]).cpu().numpy().astype(np.float64)
        norms = values[:, [tag != LOSS for tag in tags]]
        with np.errstate(over="ignore"):
            total = np.sqrt((norms * norms).sum(1, keepdims=True))
        came = times[start : start + len(own)]
        events.block(
            (*tags, "gradient_norm/total"), [row.step for row in own], came, np.concatenate([values, total], 1)
        )
        start += len(own)


LOSS = "loss/train"


def _tags(names: tuple[str, ...], with_loss: bool) -> tuple[str, ...]:
    return (*([LOSS] if with_loss else []), *(f"gradient_norm/{name}" for name in names))
