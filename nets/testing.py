"""Assertions for test suites: `from nets.testing import assert_gradients, assert_accumulation`."""

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
        inputs: its arguments; a few samples are enough.
        options: those of `nets.verify`: coverage, seed, order, dtype, closed_form, intended, engines, forward,
            tolerance.

    Raises:
        GradientError: an AssertionError with the certificate's sentence, which names the parameter and the entry, and
            its table.
        InputError: as `nets.verify` does.
    """
    # pytest leaves this frame out of its traceback.
    __tracebackhide__ = True
    _raise_unless_passed(verify(module, *inputs, **options))


def assert_accumulation(
    module: nn.Module,
    loss: Callable[..., Tensor],
    micro_batches: Iterable[Any],
    closure: Closure | None = None,
    **options: Any,
) -> None:
    """Raise unless the gradient that is accumulated over the micro-batches is the gradient of the whole batch.

    Args:
        module, loss, micro_batches, closure: see `nets.check_accumulation`.
        options: those of `nets.check_accumulation`: seed.

    Raises:
        GradientError: an AssertionError with the certificate's sentence, which says what the loop did instead, and its
            table.
        InputError: as `nets.check_accumulation` does.
    """
    __tracebackhide__ = True
    _raise_unless_passed(check_accumulation(module, loss, micro_batches, closure, **options))


def _raise_unless_passed(certificate: Certificate) -> None:
    __tracebackhide__ = True
    if not certificate.passed:
        # The sentence first, since pytest's summary shows the first line alone; some certificates have no table.
        raise GradientError("\n\n".join(filter(None, (certificate.sentence(), certificate.table()))))
