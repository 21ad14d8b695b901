"""For test suites: `from nets.testing import assert_gradients`."""

from typing import Any

from torch import nn

from nets.errors import GradientError
from nets.verification.verify import verify


def assert_gradients(module: nn.Module, *inputs: Any, **options: Any) -> None:
    """Raise unless every derivative of the module is right at these inputs.

    Args:
        module: any module, see `nets.verify`.
        inputs: what to call it with; a few samples are enough.
        options: those of `nets.verify`: coverage, seed, order, dtype, closed_form, intended.

    Raises:
        GradientError: an AssertionError whose text is the one sentence, which names the parameter and the entry, and the table.
        InputError: as `nets.verify` does.
    """
    # pytest shows the code of each frame of a traceback; this one has nothing to show.
    __tracebackhide__ = True
    certificate = verify(module, *inputs, **options)
    if not certificate.passed:
        raise GradientError(f"{certificate.sentence()}\n\n{certificate}")
