"""One descent in several processes, as `torchrun` starts them: each takes its share of every batch, and all make the same step."""

import contextlib
import itertools
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import GradBucket, PrefixStore, TCPStore
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from nets.calculus.function import ClosedForm
from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch
from nets.errors import DivergenceError, InputError, RankError
from nets.records.contributions import Accumulation
from nets.records.step import Step
from nets.training.gradients.accumulation import pieces, shares
from nets.training.gradients.engines import Autograd, Engine, trained
from nets.training.gradients.ledger import Ledger
from nets.training.gradients.sample_norms import Sampler

PATIENCE = timedelta(seconds=45)
"""How long a rank waits for the others in a step before it takes them for dead."""

FOREVER = timedelta(days=1)

_runs = itertools.count()


class Ranks:
    """The processes of a run.

    Attributes:
        rank: which one this is, from 0.
        count: how many there are.
    """

    def __init__(self) -> None:
        try:
            self.rank, self.count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        except (KeyError, ValueError) as error:
            raise InputError(
                f"WORLD_SIZE={os.environ.get('WORLD_SIZE')} says that there are several processes, but {error} is missing or no "
                "number; expected the variables that torchrun sets: start the run with torchrun --nproc_per_node=2 train.py."
            ) from error
        self._here = os.environ.get("LOCAL_WORLD_SIZE") == str(self.count)
        if self._here and sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # whatever the name of the machine resolves to
        hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        store = TCPStore(host, port, self.count, is_master=self.rank == 0 and not hosted, timeout=PATIENCE)
        # What one run has written there is nothing to the next, be it the same started again.
        self._store = PrefixStore(f"nets/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{next(_runs)}", store)
        dist.init_process_group("gloo", store=self._store, rank=self.rank, world_size=self.count, timeout=PATIENCE)
        self._store.set(f"process/{self.rank}", str(os.getpid()))

    def along(
        self, engine: Engine, network: Network, loss: Loss, micro_batch_size: int | None
    ) -> Callable[[Batch], tuple[Tensor, dict[str, Tensor], Accumulation]]:
        """What `descend` takes for the gradient of a batch, see `Shared`."""
        return Shared(self, engine, network, loss, micro_batch_size)

    def follow(self, steps: Iterable[Step]) -> None:
        """What a rank does that has its share in every step, and no more to say."""
        with self.together():
            for _ in steps:
                pass

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What all ranks do at the same time, once each has come here, however long that takes. If one of them dies meanwhile, the
        error says which.

        Raises:
            RankError: on the first of the ranks that are left, in place of what the loss of another has led to.
        """
        try:
            dist.monitored_barrier(timeout=FOREVER)
            yield
        except (RuntimeError, SystemExit) as error:
            self.blame(error)
            raise

    def blame(self, error: BaseException) -> None:
        """Raise RankError if another rank has died, on the first of those that are left."""
        # torchrun ends those that are left, which may take as long as it takes to say why.
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if dist.is_initialized():
            dist.destroy_process_group()  # or those that wait for this rank would not answer
        dead = self._dead(ended=isinstance(error, SystemExit))
        if dead and any(rank not in dead or self._reason(rank) for rank in range(self.rank)):
            raise SystemExit(1) from None  # which says it, or has said it
        if dead:
            raise RankError(f"{', and '.join(dead.values())}; the run has ended with it.") from error

    def left(self, error: BaseException) -> None:
        """Tell the others of an error in this rank, which they cannot see.

        Raises:
            SystemExit: where the first rank has met the same, and says so.
        """
        kind = type(error).__name__
        with contextlib.suppress(RuntimeError):
            reason = "" if isinstance(error, SystemExit) else f"{kind}: {' '.join(str(error).split()) or 'no reason given'}"
            self._store.set(f"ended/{self.rank}", reason[:500])
            if self.rank > 0:
                # What all of them meet, the first has something to write of before it comes here.
                same = isinstance(error, KeyboardInterrupt | InputError | DivergenceError)
                self._store.wait(["ended/0"], PATIENCE if same else timedelta(seconds=3))
                if self._store.get("ended/0").decode().startswith(f"{kind}: "):
                    raise SystemExit(1) from None

    def _dead(self, ended: bool) -> dict[int, str]:
        """The ranks that do not answer, and those that have failed, with what there is to say of each.

        Args:
            ended: whether this one has been told to end. Others will have been, too, and not all can answer then; of those, only
                the ones that are gone are dead.
        """
        self._store.set(f"alive/{self.rank}", "")
        told = {}
        for rank in range(self.count):
            with contextlib.suppress(RuntimeError):  # which a time that is over is for the store
                self._store.wait([f"alive/{rank}"], timedelta(seconds=3))
                continue
            process = int(self._store.get(f"process/{rank}").decode())
            reason, going_on = self._reason(rank), self._here and _runs_on(process)
            if reason == "" or (ended and going_on):
                continue
            what = "does not answer" if going_on else "has died" if reason is None else f"has failed with {reason}"
            told[rank] = f"rank {rank} (process {process}) {what}"
        return told

    def _reason(self, rank: int) -> str | None:
        """What a rank has said that it ends with: an error, or '' for an exit; None where it has said nothing."""
        key = f"ended/{rank}"
        return self._store.get(key).decode() if self._store.check([key]) else None


@contextlib.contextmanager
def several() -> Iterator[Ranks]:
    """The ranks of this run, as the environment has them; their errors are made known to each other."""
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
            ranks.blame(error)
        ranks.left(error)
        raise
    else:
        dist.destroy_process_group()
        signal.signal(signal.SIGTERM, before)


class Shared:
    """∂ℓ/∂θ of a batch whose micro-batches are dealt out to the ranks in turn.

    `DistributedDataParallel` averages over the R ranks what each has in `.grad`, once in a window: until its last micro-batch a
    rank keeps to itself (`no_sync`). A micro-batch of N_m samples enters as R N_m/N ∂ℓ_m/∂θ, so that the average is
    Σ_m N_m/N ∂ℓ_m/∂θ, whatever the shares of the ranks; a plain average is right only where all have as many samples.

    The ledger is kept by rank 0, with a contribution for each rank: G_r, the gradient of the mean over its samples. What the ranks
    have in `.grad` before they average is sent there, so the residual shows whether the average is the sum that it should be.
    """

    def __init__(self, ranks: Ranks, engine: Engine, network: Network, loss: Loss, micro_batch_size: int | None) -> None:
        self._ranks, self._network, self._loss, self._size = ranks, network, loss, micro_batch_size
        if isinstance(engine, Sampler):
            raise InputError("sample_norms=True was given to several processes; expected one: leave torchrun or sample_norms away.")
        if any(parameter.device.type != "cpu" for parameter in network.parameters()):
            raise InputError("a GPU was given to several processes, which share their gradients on CPUs; expected device=cpu.")
        self._parallel = DistributedDataParallel(network if isinstance(engine, Autograd) else ClosedForm(network))
        self._parallel.register_comm_hook(None, self._reduced)
        self._own: dict[Tensor, Tensor] = {}
        self._ledger = Ledger()

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Accumulation]:
        rank, count = self._ranks.rank, self._ranks.count
        micro_batches = pieces(batch, self._size or math.ceil(len(batch) / count))
        counts = [self._loss.counted(micro.targets) for micro in micro_batches]
        parts, whole = shares(self._loss, tuple(counts))
        weights = [part / whole for part in parts]
        # Each rank takes part in the average, even one for which no samples are left.
        mine = list(zip(micro_batches, weights, strict=True))[rank::count] or [(micro_batches[0], 0.0)]
        self._network.zero_grad()
        value = torch.zeros((), dtype=batch.inputs.dtype, device=batch.inputs.device)
        for number, (micro, weight) in enumerate(mine, start=1):
            with contextlib.nullcontext() if number == len(mine) else self._parallel.no_sync():
                part = weight * self._loss(self._parallel(micro.inputs), micro.targets)
                (count * part).backward()
            value += part.detach()
        gradients = {name: p.grad for name, p in self._network.named_parameters() if p.grad is not None}
        mean = value.clone()
        dist.all_reduce(mean)
        own = tuple(sum(counts[r::count]) for r in range(count))
        return mean, gradients, self._accounted(value, gradients, own)

    def _accounted(self, value: Tensor, gradients: dict[str, Tensor], counts: tuple[int, ...]) -> Accumulation:
        """The record of the window; with its numbers on rank 0."""
        parts, whole = shares(self._loss, counts)
        weights = tuple(part / whole for part in parts)
        sent = torch.cat([value[None], *(self._own[p].reshape(-1) for p in trained(self._network).values())])
        here = self._ranks.rank == 0
        found = [torch.empty_like(sent) for _ in counts] if here else None
        dist.gather(sent, found)
        if found is None:
            return Accumulation(counts, weights)
        page, row = self._ledger.open(_names(len(counts)), gradients)
        for number, (numbers, part, weight) in enumerate(zip(found, parts, weights, strict=True)):
            # The loss came weighted, and the gradient R times as long.
            loss, flat = numbers[0] / (weight or 1), numbers[1:] / (len(counts) * weight or 1)
            split = flat.split([gradient.numel() for gradient in gradients.values()])
            named = {name: part.view_as(g) for (name, g), part in zip(gradients.items(), split, strict=True)}
            self._ledger.add(page.rows[row][number], loss, named, weight, part)
        self._ledger.take(gradients)
        self._ledger.close(page.residuals[row], whole)
        return Accumulation(counts, weights, page, row)

    def _reduced(self, state: object, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        """The average over the ranks, after a look at what this one brings."""
        for parameter, gradient in zip(bucket.parameters(), bucket.gradients(), strict=True):
            self._own[parameter] = gradient.clone()
        group = dist.group.WORLD
        assert group is not None
        return allreduce_hook(group, bucket)


def _runs_on(process: int) -> bool:
    """Whether a process of this machine is there, and no mere entry that nobody has asked after."""
    try:
        os.kill(process, 0)
        with contextlib.suppress(FileNotFoundError):
            return not Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].startswith(" Z")
    except ProcessLookupError:
        return False
    return True


@lru_cache
def _names(count: int) -> tuple[str, ...]:
    return tuple(f"rank {rank}" for rank in range(count))
