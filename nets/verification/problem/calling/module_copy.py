"""A copy of a module, called as it is, from the same parameters, buffers and random numbers each time."""

import contextlib
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nets.calculus.layer import Layer
from nets.errors import InputError
from nets.torch_internals import own_buffers
from nets.verification.problem.calling.control_flow import called
from nets.verification.problem.copies import cast, copied
from nets.verification.problem.pytree import as_real, like
from nets.verification.problem.randomness import seeded
from nets.verification.problem.strides import Layouts, duplicate


class ModuleCopy:
    """A copy of a module, and the state that each of its calls starts from.

    Attributes:
        module: the copy.
        parameters: name → parameter, for those that require a gradient and are not empty.
        points: name → the real numbers of that parameter. A contiguous parameter shares its memory with its point.
        buffers: name → the values that each call starts from.
        moving: frozen parameters that a call writes to, such as a counter → the values that each call starts from.
        layouts: the memory layouts of the parameters.
        drawn: the global random generators that the module draws from.

    Args:
        module: any module.
        dtype: the precision of the copy; None to leave it as it is.
        seed: of the random numbers that the module draws.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype | None, seed: int) -> None:
        self.module, self._dtype, self._seed = copied(module, dtype), dtype, seed
        for layer in self.module.modules():
            if isinstance(layer, Layer):
                layer.hold()
        self.parameters = {n: p for n, p in self.module.named_parameters() if p.requires_grad and p.numel()}
        self.points = {n: as_real(p.detach().contiguous()) for n, p in self.parameters.items()}
        self.buffers = {name: duplicate(buffer) for name, buffer in self.module.named_buffers()}
        self.layouts = Layouts(self.parameters)
        self.moving = dict[str, Tensor]()
        self.drawn: tuple[str, ...] = ()
        self._separate = list(self.layouts.known)
        self._addresses = {name: (p, p.data_ptr()) for name, p in self.module.named_parameters()}

    def reset(self) -> None:
        """Put parameters, buffers and moving parameters back to the values that each call starts from."""
        self.write_parameters()
        for name, buffer in self.buffers.items():
            # A copy, since a graph recorded earlier may still need what the last call left in the old one.
            path, _, own = name.rpartition(".")
            own_buffers(self.module.get_submodule(path))[own] = duplicate(buffer)
        for name, value in self.moving.items():
            self.module.get_parameter(name).data.copy_(value)

    def call(self, arguments: Iterable[Any]) -> Any:
        """`module(*arguments)` from the state as it is, with the same random numbers each time."""
        with self.same_draws():
            return called(self.module, arguments)

    def write_parameters(self) -> None:
        """Copy the points into those parameters that share no memory with them, since they are not contiguous."""
        for name in self._separate:
            parameter = self.parameters[name]
            value = self.layouts.apply(name, like(self.points[name], parameter))
            if parameter.stride() == value.stride():
                parameter.data.copy_(value)
            else:
                parameter.data = value

    def same_draws(self) -> contextlib.AbstractContextManager[None]:
        """A context in which the module draws the same random numbers each time."""
        return seeded(self.drawn, self._seed) if self.drawn else contextlib.nullcontext()

    @contextlib.contextmanager
    def requiring_gradients(self, names: Collection[str]) -> Iterator[None]:
        """Within this context only the named parameters require a gradient."""
        for name, parameter in self.parameters.items():
            parameter.requires_grad_(name in names)
        try:
            yield
        finally:
            for parameter in self.parameters.values():
                parameter.requires_grad_()

    def find_moving(self, original: nn.Module) -> None:
        """Compare the parameters with those of the original after a call, and set `moving`.

        Raises:
            InputError: if the call has given a parameter other memory.
        """
        for name, (parameter, address) in self._addresses.items():
            if parameter.data_ptr() != address:
                raise InputError(
                    f"{name} has other memory after a call of the module; expected it to stay in place, where its "
                    "numbers can be moved: write parameter.data.copy_(…) instead of parameter.data = …"
                )
            if parameter.requires_grad:
                continue
            before = cast(original.get_parameter(name).detach().cpu(), self._dtype)
            if not torch.equal(parameter, before):
                self.moving[name] = before.clone()
