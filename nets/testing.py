"""For test suites: `from nets.testing import assert_gradients, assert_accumulation`."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from nets.errors import GradientError
from nets.records.certificate import Certificate
from nets.verification.accumulation.check import check_accumulation
from nets.verification.accumulation.window.window import Closure
from nets.verification.verify import verify


def assert_gradients(module: nn.Module, *inputs: Any, **options: Any) -> None:
    """Raise unless every derivative of the module is right at these inputs.

    Args:
        module: any module, see `nets.verify`.
        inputs: what to call it with; a few samples are enough.
        options: those of `nets.verify`: coverage, seed, order, dtype, closed_form, intended, forward, tolerance.

    Raises:
        GradientError: an AssertionError whose text is the one sentence, which names the parameter and the entry, and the table.
        InputError: as `nets.verify` does.
    """
    # pytest shows the code of each frame of a traceback; this one has nothing to show.
    __tracebackhide__ = True
    certificate = verify(module, *inputs, **options)
    if not certificate.passed:
        raise GradientError(_told(certificate))


def _told(certificate: Certificate) -> str:
    """The sentence first, since pytest's summary shows the first line alone, and then the table if there is one."""
    return "\n\n".join(filter(None, (certificate.sentence(), certificate.table())))


def assert_accumulation(
    module: nn.Module, loss: Callable[..., Tensor], micro_batches: Iterable[Any], closure: Closure | None = None
) -> None:
    """Raise unless the gradient that is accumulated over the micro-batches is that of the whole batch.

    Args:
        module, loss, micro_batches, closure: see `nets.check_accumulation`.

    Raises:
        GradientError: an AssertionError whose text is the one sentence, which says what the loop did instead, and the table.
        InputError: as `nets.check_accumulation` does.
    """
    __tracebackhide__ = True
    certificate = check_accumulation(module, loss, micro_batches, closure)
    if not certificate.passed:
        raise GradientError(_told(certificate))
