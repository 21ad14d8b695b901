"""A TensorBoard event file: one `Event` for all numbers of one step.

The file is a sequence of records (length, checksum, bytes, checksum), each record one `Event` protocol buffer. Numbers
are written as `simple_value`, the one form that both `EventAccumulator.Scalars` and the TensorBoard page read. It is a
float32: a Python float comes back as the float32 nearest to it, with a relative error of at most 2⁻²⁴ = 6e-8, infinite
above 3.4e38 and zero below 7e-46.
"""

import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING

from nets.errors import InputError
from nets.telemetry.tensorboard.encoding import record, records
from nets.validation import refusal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Value: TypeAlias = Any
"""An entry of an Event: a tag with a number, a text, a histogram or an image (`Summary.Value` has no type stubs)."""

BUCKETS = 64
"""Twice the 30 buckets with which TensorBoard redraws a histogram, so that its rebinning hardly shows."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_serial = itertools.count()


def scalar_values(values: Mapping[str, float]) -> list[Value]:
    """The numbers of `{tag: number}`, each as the float32 nearest to it."""
    return [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]


def string_value(tag: str, plugin: str, content: bytes) -> Value:
    """`content` addressed to the TensorBoard plugin `plugin`."""
    return Summary.Value(
        tag=tag,
        tensor=TensorProto(dtype=DT_STRING, string_val=[content]),
        metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin)),
    )


def text_value(tag: str, markdown: str) -> Value:
    """A text for the Text page, which renders Markdown with tables and fenced blocks."""
    return string_value(tag, "text", markdown.encode("utf-8", "replace"))


def histogram_values(tag: str, tensor: "Tensor") -> list[Value]:
    """How often each size occurs in `tensor`: 64 equal buckets between its smallest and largest finite number.

    NaN and infinity belong to no bucket and are left out. Where there are any, `not_finite/<tag>` has their number; a
    tensor without a finite number yields that tag alone.
    """
    numbers = tensor.detach().flatten().double().cpu()
    finite = numbers[numbers.isfinite()]
    missing = len(numbers) - len(finite)
    values = scalar_values({f"not_finite/{tag}": missing}) if missing else []
    if len(finite):
        low, high = finite.min().item(), finite.max().item()
        if low == high:
            counts, limits = [float(len(finite))], [high]
        else:
            # Divided by the largest size: the width of the range could overflow where the numbers do not.
            scale = max(-low, high)
            histogram = (finite / scale).histogram(BUCKETS)
            counts, limits = histogram.hist.tolist(), (histogram.bin_edges[1:] * scale).tolist()
        proto = HistogramProto(
            min=low,
            max=high,
            num=len(finite),
            sum=finite.sum().item(),
            sum_squares=finite.square().sum().item(),
            bucket_limit=limits,
            bucket=counts,
        )
        values.append(Summary.Value(tag=tag, histo=proto))
    return values


def image_value(tag: str, png: bytes) -> Value:
    """A picture for the Images page.

    Raises:
        InputError: `png` does not begin as a PNG file does.
    """
    if png[:8] != PNG_SIGNATURE or len(png) < 24:
        raise InputError(
            f"The picture '{tag}' begins with {png[:8]!r} ({len(png)} bytes), but TensorBoard is given PNG files, "
            f"which begin with {PNG_SIGNATURE!r}: save it as PNG."
        )
    # The first chunk of a PNG file is its header, which begins with width and height (PNG specification, 11.2.1).
    width, height = struct.unpack(">II", png[16:24])
    image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
    return Summary.Value(tag=tag, image=image)


class EventFile:
    """A new event file in `log_dir`, which is made where it does not exist. Use it as a context manager.

    Each Event is handed to the operating system before the call returns. It survives an exception and a process that is
    killed; only a machine that loses power can lose it.

    Attributes:
        path: the file.

    Raises:
        InputError: nothing can be written at `log_dir`.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        if not isinstance(log_dir, str | os.PathLike):
            raise refusal("log_dir", log_dir, "the path of a directory", "write 'runs/mine', for example")
        directory = Path(log_dir)
        # TensorBoard finds a file by 'tfevents' in its name and reads several in the order of their names.
        name = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{next(_serial)}"
        self.path = directory / name
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("xb")
        except OSError as error:
            raise InputError(
                f"The TensorBoard directory '{directory}' cannot be written ({error.strerror or error}): "
                "name a directory that can be made and written."
            ) from error
        self._lock = threading.RLock()
        source = SourceMetadata(writer="nets.telemetry.tensorboard.events")
        self._append(Event(wall_time=time.time(), file_version="brain.Event:2", source_metadata=source))

    def write(self, step: int, values: Iterable[Value]) -> None:
        """One Event with all `values`, at `step` and the present time."""
        self._append(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def block(
        self, tags: tuple[str, ...], steps: Sequence[int], times: Sequence[float], values: "NDArray[np.floating]"
    ) -> None:
        """One Event for each step, with its own time and `values[s, t]` under tag t; S × T numbers in one call."""
        self._put(records(tags, steps, times, values))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One Event with the numbers of `{tag: number}`."""
        self.write(step, scalar_values(values))

    def text(self, tag: str, markdown: str, step: int = 0) -> None:
        """One Event with a text, rendered as Markdown."""
        self.write(step, [text_value(tag, markdown)])

    def histogram(self, tag: str, tensor: "Tensor", step: int) -> None:
        """One Event with the histogram of `tensor`, of any shape; see `histogram_values`."""
        self.write(step, histogram_values(tag, tensor))

    def image(self, tag: str, png_bytes: bytes, step: int) -> None:
        """One Event with a picture, the content of a PNG file."""
        self.write(step, [image_value(tag, png_bytes)])

    def flush(self) -> None:
        """Hand everything written so far to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close. A second call does nothing; a write after it raises ValueError."""
        self._file.close()

    def _append(self, event: Event) -> None:
        """An Event becomes bytes on disk."""
        self._put(record(event.SerializeToString()))

    def _put(self, whole: bytes) -> None:
        """The one place where bytes reach the disk: whole records in one call, also with several threads."""
        with self._lock:
            self._file.write(whole)
            self._file.flush()

    def __enter__(self) -> "EventFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
