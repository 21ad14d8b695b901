"""`TrainState`: everything that is needed to resume a descent."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nets.calculus.network import Network
from nets.calculus.state import ForwardState
from nets.errors import InputError, quoted
from nets.training.optimizers.update_rule import RuleState
from nets.training.parameters import shape_and_precision
from nets.validation import refusal, whole

SIZES = {name: f"sizes.{name}" for name in ("samples", "batch_size", "micro_batch_size")}
"""A key of `TrainState.sizes` → its key in `as_dict`."""


@dataclass(frozen=True, slots=True)
class TrainState:
    """The state of a descent between two updates. `descend(..., state=state)` continues bit for bit as the
    uninterrupted descent would, if it has the same data, loss, rule and engine. Other sizes of data or batches are
    refused.

    ```python
    steps = nets.descend(network, data, steps=7, ...)
    for step in steps: ...
    saved = steps.state.as_dict()        # tensors and whole numbers, for any file format
    state = nets.TrainState.from_dict(saved)
    for step in nets.descend(network, data, steps=12, ..., state=state): ...   # steps 8 to 12
    ```

    Attributes:
        parameters: the value of each parameter and buffer of the network, by the names of its state dict.
        rule: the state of the update rule: name → tensors.
        generators: the state of each random generator: 'order' draws the order of the samples in each epoch, and
            'network.0.noise' is the generator 'noise' of layer 0, see `Layer.random_generators`.
        step: the number of updates made.
        epoch: the epoch of the last update, counted from 1; 0 before the first.
        remaining: the samples of that epoch that remain, in order; shape (R,), int64.
        sizes: how the samples are divided: 'samples' in the data, samples in a batch under 'batch_size', and in a
            micro-batch under 'micro_batch_size'.
    """

    parameters: dict[str, Tensor]
    rule: RuleState
    generators: dict[str, Tensor]
    step: int
    epoch: int
    remaining: Tensor
    sizes: dict[str, int]

    def as_dict(self) -> dict[str, Tensor | int]:
        """The state as one flat dictionary of tensors and whole numbers: 'parameters.0.weight', 'rule.velocity.0',
        'step', …"""
        rule = {f"rule.{name}.{place}": tensor for name, own in self.rule.items() for place, tensor in enumerate(own)}
        return {
            **{f"parameters.{name}": tensor for name, tensor in self.parameters.items()},
            **rule,
            **{f"generators.{name}": tensor for name, tensor in self.generators.items()},
            "step": self.step,
            "epoch": self.epoch,
            "remaining": self.remaining,
            **{SIZES[name]: size for name, size in self.sizes.items()},
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Tensor | int]) -> "TrainState":
        """The state that `as_dict` has written.

        Raises:
            InputError: for an entry that is missing, unknown or of another kind. `descend` checks whether the state
                fits the network.
        """
        if not isinstance(saved, Mapping):
            raise refusal("the state", saved, "the dictionary that TrainState.as_dict returns")
        parts: dict[str, dict[str, Tensor]] = {"parameters": {}, "rule": {}, "generators": {}}
        for key, value in saved.items():
            part, _, name = str(key).partition(".")
            if part in parts and isinstance(value, Tensor) and (part != "rule" or name.rpartition(".")[2].isdecimal()):
                parts[part][name] = value
            elif key not in ("step", "epoch", "remaining", *SIZES.values()):
                raise InputError(
                    f"the state has the entry {quoted(key)}; expected the entries that TrainState.as_dict writes."
                )
        rule: RuleState = {}
        for name in sorted(parts["rule"], key=lambda name: int(name.rpartition(".")[2])):
            rule.setdefault(name.rpartition(".")[0], []).append(parts["rule"][name])
        remaining = saved.get("remaining")
        if not isinstance(remaining, Tensor) or remaining.dtype != torch.int64 or remaining.ndim != 1:
            raise refusal(
                "the entry 'remaining' of the state", remaining, "the numbers of samples, an int64 tensor of shape (R,)"
            )
        step, epoch, *sizes = (
            whole(f"the entry '{key}' of the state", saved.get(key), least)
            for key, least in {"step": 0, "epoch": 0, **dict.fromkeys(SIZES.values(), 1)}.items()
        )
        return cls(
            parts["parameters"], rule, parts["generators"], step, epoch, remaining, dict(zip(SIZES, sizes, strict=True))
        )

    def check(self, network: Network, rule: RuleState, sizes: dict[str, int]) -> None:
        """Raise InputError unless the state fits a descent.

        Args:
            network: its parameters and buffers have the names and shapes of those here.
            rule: a state of the update rule, for names and shapes.
            sizes: of its data, batches and micro-batches, with the keys of `sizes` here.
        """
        _check_alike("the network", self.parameters, state_of(network))
        _check_alike("the update rule", _flat(self.rule), _flat(rule))
        for name, size in sizes.items():
            if self.sizes.get(name) != size:
                raise InputError(
                    f"the state has {name} {self.sizes.get(name)}, and this descent has {size}; expected the same, "
                    "since the steps would differ from those of the uninterrupted descent: begin a new descent without "
                    "state to divide the samples otherwise."
                )
        needed = {name: own.get_state() for name, own in generators_of(network, torch.Generator()).items()}
        _check_alike("the random generators", self.generators, needed)
        samples = sizes["samples"]
        if len(self.remaining) and not 0 <= int(self.remaining.min()) <= int(self.remaining.max()) < samples:
            raise InputError(
                f"the state names the samples {int(self.remaining.min())} to {int(self.remaining.max())}, and the data "
                f"have {samples}; expected the data that it was saved with."
            )

    @torch.no_grad()
    def restore(self, network: Network, rule: RuleState, generator: torch.Generator) -> None:
        """Copy parameters, buffers and the state of the rule to where they are used, and set the random generators.

        Args:
            network: as it was checked.
            rule: the state of the update rule that the descent uses.
            generator: draws the order of the samples.
        """
        for name, tensor in state_of(network).items():
            tensor.copy_(self.parameters[name])
        for name, tensors in rule.items():
            for tensor, saved in zip(tensors, self.rule[name], strict=True):
                tensor.copy_(saved)
        for name, own in generators_of(network, generator).items():
            own.set_state(self.generators[name].cpu())


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, also the buffers that are not in the state dict, such as a count of masks."""
    return {**network.state_dict(), **dict(network.named_buffers())}


def generators_of(network: nn.Module, order: torch.Generator) -> dict[str, torch.Generator]:
    """The random generators of a descent by name: 'order', and the generators of the layers."""
    found = {"order": order}
    for path, layer in network.named_modules(prefix="network"):
        if isinstance(layer, ForwardState):
            found |= {f"{path}.{name}": own for name, own in layer.random_generators().items()}
    return found


def _flat(rule: RuleState) -> dict[str, Tensor]:
    return {f"{name}.{place}": tensor for name, tensors in rule.items() for place, tensor in enumerate(tensors)}


def _check_alike(what: str, saved: dict[str, Tensor], needed: dict[str, Tensor]) -> None:
    """Raise InputError unless both have the same names, shapes and precisions."""
    for name in (*needed, *saved):
        ours, theirs = (shape_and_precision(own[name]) if name in own else "nothing" for own in (saved, needed))
        if ours != theirs:
            raise InputError(
                f"the state has {ours} for '{name}' where {what} has {theirs}; expected a state of the same settings."
            )
