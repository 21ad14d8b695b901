"""Verify one sample, and all samples in several processes."""

import multiprocessing
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import nets
from tests.opinfo import samples

SAMPLES = 3
"""Samples of each operation and dtype. With three, a full run takes about a quarter of an hour on two cores."""

SECONDS = 20
"""CPU time after which the verification of a sample is stopped."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one verification.

    Attributes:
        name: the operation or module.
        dtype: 'float64' or 'complex128'.
        sample: the place of the sample in PyTorch's list.
        order: the order of the derivatives, 1 or 2.
        verdict: 'pass', 'fail' or 'inconclusive'; 'forward mode' if only forward mode is wrong; 'not finite' if the
            output of the sample is NaN or infinite; 'refused' after an InputError, 'raised' after any other error, and
            'late' after the time limit.
        sentence: the certificate's sentence, or the message of the error.
        seconds: the CPU time of the verification.
    """

    name: str
    dtype: str
    sample: int
    order: int
    verdict: str
    sentence: str
    seconds: float


class OutOfTime(BaseException):
    """A BaseException, since the verification catches every Exception that the checked code raises."""


def all_outcomes(workers: int, names: list[str] | None = None, count: int = SAMPLES) -> Iterator[Outcome]:
    """The outcomes of all operations and modules, or only of `names`, in the order in which they finish."""
    tasks = [("of_operation", name, count) for name in samples.operations() if names is None or name in names]
    tasks += [("of_module", name, count) for name in samples.modules() if names is None or name in names]
    tasks += [("of_own", name, count) for name in samples.OWN if names is None or name in names]
    with multiprocessing.get_context("spawn").Pool(workers, _prepare) as pool:
        for found in pool.imap_unordered(_outcomes, tasks):
            yield from found


def _prepare() -> None:
    torch.set_num_threads(1)
    # PyTorch's operations warn about deprecated uses within PyTorch.
    warnings.simplefilter("ignore")


def _outcomes(task: tuple[str, str, int]) -> list[Outcome]:
    source, name, count = task
    return [
        _outcome(subject, order)
        for subject in getattr(samples, source)(name, count)
        for order in range(1, 2 + subject.twice)
    ]


def _outcome(subject: samples.Subject, order: int) -> Outcome:
    begun = time.process_time()
    try:
        with _limited(SECONDS):
            if not _finite(subject):
                return Outcome(
                    subject.name, subject.dtype, subject.sample, order, "not finite", "the output is not finite", 0.0
                )
            verdict, sentence = _judged(subject, order)
    except nets.InputError as error:
        verdict, sentence = "refused", str(error)
    except OutOfTime:
        verdict, sentence = "late", f"took more than {SECONDS} seconds of CPU time"
    except Exception as error:
        verdict, sentence = "raised", f"{type(error).__name__}: {error}"
    return Outcome(subject.name, subject.dtype, subject.sample, order, verdict, sentence, time.process_time() - begun)


def _judged(subject: samples.Subject, order: int) -> tuple[str, str]:
    """The verdict and its sentence. The verdict is 'forward mode' if only forward mode is wrong and PyTorch declares
    that the operation supports it."""
    required = order == 1 and subject.forward
    certificate = nets.verify(
        subject.module, *subject.inputs, order=order, forward="required" if required else "optional"
    )
    if required and certificate.verdict == "fail":
        otherwise = nets.verify(subject.module, *subject.inputs, order=order)
        if otherwise.verdict != "fail":
            return "forward mode", certificate.sentence()
    return str(certificate.verdict), certificate.sentence()


def _finite(subject: samples.Subject) -> bool:
    """Whether the output is finite. An error of the module counts as finite: `verify` then reports it."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]), suppress(Exception):
        output = subject.module(*(x.detach().clone() for x in subject.inputs))
        return all(
            bool(x.isfinite().all()) for x in tree_leaves(output) if isinstance(x, Tensor) and x.is_floating_point()
        )
    return True


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Raise OutOfTime after `seconds` of CPU time; other work on the machine does not count."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
