"""A function of (network, loss, batch), recorded at the first batch of each shape and replayed for the others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.data.batch import Batch
from nets.torch_internals import forward_hooks, is_view, own_buffers, own_modules, own_parameters
from nets.training.replay.cuda_graph import CudaGraph, warmed
from nets.training.replay.operation import tensors
from nets.training.replay.purity import BARE, Purity
from nets.training.replay.recording import Recording, Watch, alike, watched
from nets.training.unchanged import Entries


@dataclass(slots=True)
class _Replay:
    """How batches of one shape are computed: by the function where there is neither a watch nor a recording.

    Attributes:
        batch: the memory that the recording reads.
        watch: has seen the function run on the first batch. None once the recording is verified.
        recording: repeats what the watch has seen.
    """

    batch: Batch
    watch: Watch | None = None
    recording: Recording | CudaGraph | None = None


class Replayed:
    """`function(network, loss, batch)`, by a `Recording`, or on a GPU by a `CudaGraph`.

    The function is called at the first batch of each shape, where it is recorded, and at the second to verify the
    replay. The result is that of a replay from the first batch on, so that a descent that is resumed has the same
    roundings. The function is called at each batch where it cannot be recorded: with hooks, random numbers, a layer or
    a loss that decides by a number or writes to its own buffers, one whose code may read what changes (see
    `Layer.recordable`), or a replay that was found to be wrong. Another network, another loss, and a parameter, a
    layer, an attribute or a global that has been replaced, begin anew.

    The first batch of a shape is kept, unless it is a view, and others of that shape are written over it. The result is
    overwritten by the next call.

    Args:
        function: what is recorded. It must not depend on anything else that changes.
    """

    def __init__(self, function: Callable[[Network, Loss, Batch], Any]) -> None:
        self._function = function
        self._constants: _Constants | None = None
        self._replays: dict[tuple[torch.Size, torch.Size, torch.dtype], _Replay] = {}

    def __call__(self, network: Network, loss: Loss, batch: Batch) -> Any:
        if self._constants is None or not self._constants.hold(network, loss):
            self._constants, self._replays = _Constants(network, loss), {}
        key = batch.inputs.shape, batch.targets.shape, batch.inputs.dtype
        found = self._replays.get(key)
        if found is None:
            self._replays[key], result = self._first(network, loss, _whole(batch))
            return result
        if found.watch is None and found.recording is None:
            return self._function(network, loss, batch)
        if found.batch is not batch:
            found.batch.inputs.copy_(batch.inputs)
            found.batch.targets.copy_(batch.targets)
        if found.watch is not None:
            return self._second(found, network, loss)
        assert found.recording is not None
        found.recording.replay()
        return found.recording.result

    def _first(self, network: Network, loss: Loss, batch: Batch) -> tuple[_Replay, Any]:
        """The result for the first batch of a shape, and how the others are computed."""
        assert self._constants is not None

        def function() -> Any:
            return self._function(network, loss, batch)

        if not self._constants.recordable:
            return _Replay(batch), function()
        watch, result = watched(function)
        if watch.obstacle or not self._constants.hold(network, loss):
            return _Replay(batch), result
        on_cpu = batch.inputs.device.type == "cpu"
        recording = _verified(lambda: Recording(watch) if on_cpu else CudaGraph(warmed(function)), result)
        if recording is None:
            return _Replay(batch), result
        # On the CPU the memory is taken anew at the second batch: the function needs its own before.
        return _Replay(batch, watch, None if on_cpu else recording), recording.result

    def _second(self, found: _Replay, network: Network, loss: Loss) -> Any:
        """The result for the second batch of a shape, by a replay if it gives the numbers of the function."""
        watch, made, found.watch, found.recording = found.watch, found.recording, None, None
        assert watch is not None
        expected = self._function(network, loss, found.batch)
        found.recording = _verified(lambda: made or Recording(watch), expected)
        return expected if found.recording is None else found.recording.result


def _verified(make: Callable[[], Recording | CudaGraph], expected: Any) -> Recording | CudaGraph | None:
    """A recording that gives the expected numbers; None if it cannot be made, or gives others.

    Rounding that grows a thousandfold is a reason as well: two ways to compute the same cannot be compared then.
    """
    try:
        recording = make()
    except RuntimeError:  # an operation cannot be repeated
        return None
    for _ in range(2):
        recording.replay()
        if not alike(tensors(expected), tensors(recording.result)):
            return None
    return recording


def _whole(batch: Batch) -> Batch:
    """The batch, or a copy of a micro-batch: it is a view of its batch, which must stay as it is."""
    return batch if not is_view(batch.inputs) else Batch(batch.inputs.clone(), batch.targets.clone())


class _Constants:
    """What a recording takes to be constant: network and loss, their layers, parameters and attributes, what the code
    of a user's own layers reads, and no hooks.

    Attributes:
        recordable: whether nothing else can change.
    """

    def __init__(self, network: Network, loss: Loss) -> None:
        self._network, self._loss = network, loss
        modules = [*network.modules(), *loss.modules()]
        stated = {module: getattr(module, "recordable", None) for module in modules}
        purity = Purity([module for module in modules if stated[module] is None])
        hooks: list[Any] = [own for module in modules for own in forward_hooks(module)]
        self.recordable = purity.pure and not any(hooks) and False not in stated.values()
        self._outside = purity.constants
        tables = [own for m in modules for own in (own_modules(m), own_parameters(m), own_buffers(m)) if own]
        tables += [vars(module) for module in modules if vars(module).keys() - BARE]
        self._entries = Entries([*hooks, *tables], ignored=BARE)
        # Tensors that no descent moves and watches: a recording reads the memory that they had.
        every = [*self._entries.values, *(value for _, value in self._outside)]
        self._tensors = [t for t in every if isinstance(t, Tensor) and not t.requires_grad]
        self._memory = list(map(Tensor.data_ptr, self._tensors))

    def hold(self, network: Network, loss: Loss) -> bool:
        """Whether all of it is as it was."""
        return (
            network is self._network
            and loss is self._loss
            and self._entries.same()
            and (not self._tensors or list(map(Tensor.data_ptr, self._tensors)) == self._memory)
            and (not self._outside or all(read() is value for read, value in self._outside))
        )
