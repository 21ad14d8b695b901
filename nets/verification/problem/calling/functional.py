"""A module as a pure function: for one call, other tensors replace its parameters, buffers and inputs."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nets.torch_internals import own_parameters
from nets.verification.problem.calling.inputs import Inputs
from nets.verification.problem.calling.module_copy import ModuleCopy
from nets.verification.problem.copies import twin_of
from nets.verification.problem.pytree import differentiable, like
from nets.verification.problem.strides import duplicate


class PureFunction:
    """points → the output of a module; differentiable, and fit for `torch.func`.

    The calls go to a second copy of the module. A module that remembers its calls would otherwise keep dual or batched
    numbers.

    Args:
        original: the first copy, before its first call: a call may leave something that cannot be copied, such as an
            output with its graph.
        inputs: its arguments.
    """

    def __init__(self, original: ModuleCopy, inputs: Inputs) -> None:
        self._original, self._inputs, self._twin = original, inputs, twin_of(original.module)

    def __call__(self, points: Mapping[str, Tensor]) -> Any:
        """The output at these points."""
        return self._call(self._twin, *self._tensors(points))

    def remembered(self, points: Mapping[str, Tensor]) -> Any:
        """The output at these points by the first copy itself, which may remember the call."""
        return self._call(self._original.module, *self._tensors(points))

    def in_complex(self, points: Mapping[str, Tensor]) -> Any:
        """The output at these points, computed in complex numbers. Raises where an operation has no complex form."""
        copy, complex128 = self._original, torch.complex128
        state = dict(copy.module.named_parameters()) | copy.buffers
        given = {n: t.detach().to(complex128) for n, t in state.items() if t.is_floating_point()}
        given |= {n: copy.layouts.apply(n, points[n].to(complex128)) for n in copy.parameters}
        leaves = [leaf.to(complex128) if differentiable(leaf) else leaf for leaf in self._inputs.leaves]
        for name, i in self._inputs.indices.items():
            leaves[i] = points[name].to(complex128)
        return self._call(self._twin, given, leaves)

    def _tensors(self, points: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[Any]]:
        """The tensors in the places of parameters and buffers, by name, and those in the places of the inputs."""
        copy, leaves = self._original, list(self._inputs.leaves)
        given = {n: copy.layouts.apply(n, like(points[n], p)) for n, p in copy.parameters.items()}
        for name, i in self._inputs.indices.items():
            leaves[i] = like(points[name], leaves[i])
        return given | {name: duplicate(tensor) for name, tensor in (copy.buffers | copy.moving).items()}, leaves

    def _call(self, module: nn.Module, given: Mapping[str, Tensor], leaves: list[Any]) -> Any:
        with self._original.same_draws():
            return _call_with(module, given, self._inputs.arguments(leaves))


def _call_with(module: nn.Module, given: Mapping[str, Tensor], arguments: Any) -> Any:
    """`module(*arguments)` with the `given` tensors in the places of parameters and buffers, by name, for this one
    call."""
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    owners = [(owner, key, parameter) for owner in module.modules() for key, parameter in own_parameters(owner).items()]
    # Looking for tied tensors takes time, and is needed only where one tensor has two names.
    tied = len({id(tensor) for _, tensor in named}) < len(named)
    try:
        return functional_call(module, dict(given), tuple(arguments), tie_weights=tied)
    finally:
        # functional_call leaves the given tensors in a module that is registered under two names.
        for owner, key, parameter in owners:
            if own_parameters(owner)[key] is not parameter:
                setattr(owner, key, parameter)
