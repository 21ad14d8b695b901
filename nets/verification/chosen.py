"""The verification that the settings `verification` of a run describe."""

from collections.abc import Callable

from torch import Tensor

from nets.calculus.network import Network
from nets.records.certificate import Certificate
from nets.validation import one_of, whole
from nets.verification.derivations.engines import available
from nets.verification.verify import verify


def verification_of(
    model: Network, inputs: Tensor, seed: int, samples: int, coverage: str = "full"
) -> Callable[[], Certificate]:
    """A function that runs `verify` at the first samples, with every engine that is installed.

    Raises:
        InputError: for a number of samples or a coverage out of range.
    """
    points = inputs[: whole("verification.samples", samples, 1)]
    one_of("verification.coverage", coverage, ("auto", "full"))
    return lambda: verify(model, points, coverage=coverage, seed=seed, engines=available())
