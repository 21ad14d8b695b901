"""The processes of one run, as `torchrun` starts them: they connect, wait for each other, and report a process that has
died."""

import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from nets.errors import DivergenceError, InputError, RankError
from nets.records.step import Step
from nets.training.gradients.source import GradientFunction, GradientSpec
from nets.training.parallel.data_parallel import DataParallel

TIMEOUT = timedelta(seconds=45)
"""A rank counts as dead if it does not take part in a step for so long."""

ANSWER = timedelta(seconds=3)
"""A live rank answers, or writes its error, within this time."""

NO_TIMEOUT = timedelta(days=1)

_runs = itertools.count()


class Ranks:
    """The processes of a run.

    Attributes:
        rank: the number of this process, from 0.
        count: the number of processes.
    """

    def __init__(self) -> None:
        try:
            self.rank, self.count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        except (KeyError, ValueError) as error:
            raise InputError(
                f"WORLD_SIZE={os.environ.get('WORLD_SIZE')} says that there are several processes, but {error} is "
                "missing or no number; expected the variables that torchrun sets: start the run with torchrun "
                "--nproc_per_node=2 train.py."
            ) from error
        self._one_machine = os.environ.get("LOCAL_WORLD_SIZE") == str(self.count)
        if self._one_machine and sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the name of the machine may not resolve
        hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        store = TCPStore(host, port, self.count, is_master=self.rank == 0 and not hosted, timeout=TIMEOUT)
        # A separate prefix, so that a later run, or this one after a restart, does not read what this one writes.
        self._store = PrefixStore(f"nets/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{next(_runs)}", store)
        dist.init_process_group("gloo", store=self._store, rank=self.rank, world_size=self.count, timeout=TIMEOUT)
        self._store.set(f"process/{self.rank}", str(os.getpid()))

    def prepare(self, spec: GradientSpec) -> GradientFunction:
        """The gradient of each batch, from all ranks, see `DataParallel`.

        So `descend` takes the ranks as a gradient source.
        """
        return DataParallel(self.rank, self.count, spec)

    def follow(self, steps: Iterable[Step]) -> None:
        """Take part in every step, and write nothing."""
        with self.together():
            for _ in steps:
                pass

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """A block that all ranks enter together: each waits until the last one arrives. If a rank ends unexpectedly in
        it, the error names that rank.

        Raises:
            RankError: on the first remaining rank, in place of the communication error that follows when another rank
                ends.
        """
        self._store.set(f"here/{self.rank}", "")
        try:
            # The first rank may verify for minutes, and the barrier alone lets the others wait for TIMEOUT at most.
            self._store.wait([f"here/{rank}" for rank in range(self.count)], NO_TIMEOUT)
            dist.monitored_barrier(timeout=NO_TIMEOUT)
            yield
        except (RuntimeError, SystemExit) as error:
            self.raise_if_dead(error)
            raise

    def raise_if_dead(self, error: BaseException) -> None:
        """Raise RankError on the first remaining rank if another rank has ended unexpectedly."""
        # torchrun sends SIGTERM to the remaining ranks. They must find out what to report before they end.
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if dist.is_initialized():
            dist.destroy_process_group()  # ranks that wait for this one would not answer
        dead = self._dead(ended=isinstance(error, SystemExit))
        if dead and any(rank not in dead or self._reason(rank) for rank in range(self.rank)):
            raise SystemExit(1) from None  # an earlier rank reports it
        if dead:
            raise RankError(f"{', and '.join(dead.values())}; the run has ended with it.") from error

    def report(self, error: BaseException) -> None:
        """Write an error of this rank where the other ranks can read it.

        Raises:
            SystemExit: where the first rank has met the same error, and reports it.
        """
        kind = type(error).__name__
        with contextlib.suppress(RuntimeError):
            reason = (
                "" if isinstance(error, SystemExit) else f"{kind}: {' '.join(str(error).split()) or 'no reason given'}"
            )
            self._store.set(f"ended/{self.rank}", reason[:500])
            if self.rank > 0:
                # Every rank meets these errors, and the first has files to write before it reports its own.
                same = isinstance(error, KeyboardInterrupt | InputError | DivergenceError)
                self._store.wait(["ended/0"], TIMEOUT if same else ANSWER)
                if self._store.get("ended/0").decode().partition(": ")[0] == kind:
                    raise SystemExit(1) from None

    def _dead(self, ended: bool) -> dict[int, str]:
        """The ranks that do not answer or have failed: rank → a clause of an error message.

        Args:
            ended: whether this rank got SIGTERM. Its peers probably did too and cannot all answer; then only processes
                that no longer exist are reported.
        """
        self._store.set(f"alive/{self.rank}", "")
        clauses = {}
        for rank in range(self.count):
            with contextlib.suppress(RuntimeError):  # raised by the store after the time limit
                self._store.wait([f"alive/{rank}"], ANSWER)
                continue
            process = int(self._store.get(f"process/{rank}").decode())
            reason, running = self._reason(rank), self._one_machine and _is_running(process)
            if reason == "" or (ended and running):
                continue
            what = "does not answer" if running else "has died" if reason is None else f"has failed with {reason}"
            clauses[rank] = f"rank {rank} (process {process}) {what}"
        return clauses

    def _reason(self, rank: int) -> str | None:
        """The error that a rank has reported, or '' for an exit; None where it has reported nothing."""
        key = f"ended/{rank}"
        return self._store.get(key).decode() if self._store.check([key]) else None


@contextlib.contextmanager
def process_group() -> Iterator[Ranks]:
    """The ranks of this run, as the environment describes them. An error of one is reported to the others."""
    ranks = Ranks()
    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield ranks
    except RankError:
        raise
    except BaseException as error:
        if isinstance(error, RuntimeError | SystemExit):
            ranks.raise_if_dead(error)
        ranks.report(error)
        raise
    else:
        dist.destroy_process_group()
        signal.signal(signal.SIGTERM, before)


def _is_running(process: int) -> bool:
    """Whether a process of this machine runs. A zombie, which has ended and has not been waited for, does not count."""
    try:
        os.kill(process, 0)
        with contextlib.suppress(FileNotFoundError):
            return not Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].startswith(" Z")
    except ProcessLookupError:
        return False
    return True
