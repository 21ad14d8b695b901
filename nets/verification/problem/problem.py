"""What is verified: a module at a point, on copies in double precision, as one real function of named real tensors."""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from nets.errors import InputError
from nets.records.reason import Finding
from nets.text import one_line
from nets.verification.problem.calling import OtherOutputsError, refusal
from nets.verification.problem.control_flow import called
from nets.verification.problem.copies import copied, copied_input, twin_of
from nets.verification.problem.graph import pull_back
from nets.verification.problem.outputs import Outputs, Place
from nets.verification.problem.points import check_points, moved_by_a_call
from nets.verification.problem.pytree import as_real, differentiable, flattened, input_names, like, unravelled
from nets.verification.problem.randomness import Watched, seeded, signed, stream
from nets.verification.problem.strides import Memory, Repeated, duplicate, memory_of
from nets.verification.problem.swapping import swapped


class Problem:
    """Y = f(θ, X), with everything that is floating point in Y flattened to one vector of M real numbers.

    A complex number counts as two real ones, real part first, in a last axis of its own. Where the module draws random numbers,
    each call draws the same ones, and each begins with the buffers as they were.

    Attributes:
        module: a copy; the caller's is never called.
        points: parameter → its value, then 'input' (or 'input[0]', 'input[1]', …) → X. These share memory with what the module
            reads: writing to one moves the function. Frozen parameters and integer inputs are not among them.
        y: Y, shape (M,).
        unit: the unit roundoff of each output in the precision in which the module returns it, shape (M,).
        samples: N, the size of the first axis of the first input.
        memory: how those parameters and inputs lie in memory that are not contiguous.

    Args:
        module: any module.
        inputs: its arguments, tensors or nested lists, tuples and dicts of them. Where some require a gradient, only those are
            points, otherwise all that are floating point or complex.
        dtype: the precision of the copy; None to leave it as it is.
        seed: of the random numbers that the module draws.

    Raises:
        InputError: if the module cannot be copied or called, or has nothing to be differentiated.
    """

    letter = "Y"  # what the output is called in a derivative

    def __init__(
        self, module: nn.Module, inputs: tuple[Any, ...], *, dtype: torch.dtype | None = torch.float64, seed: int = 0
    ) -> None:
        self.module, self.dtype, self.seed = copied(module, dtype), dtype, seed
        # Numbers of another kind may leave traces in a module that remembers its calls: they get a copy of their own, made before
        # the first call: what a call has left, such as an output with its graph, may not be fit to be copied.
        self._twin = twin_of(self.module)
        self._drawn: tuple[str, ...] = ()
        self._evaluating: type[torch.no_grad] | type[torch.enable_grad] = torch.no_grad
        leaves, self._structure = pytree.tree_flatten_with_path(inputs)
        names = input_names([path for path, _ in leaves])
        self._leaves = [copied_input(name, leaf, dtype) for name, (_, leaf) in zip(names, leaves, strict=True)]
        self._memory: dict[int, Memory | Repeated] = {
            i: m for i, (_, leaf) in enumerate(leaves) if isinstance(leaf, Tensor) and (m := memory_of(leaf))
        }
        self._names, self._plain = names, all(isinstance(x, Tensor) for x in inputs)
        chosen = [differentiable(leaf) for leaf in self._leaves]
        self._tracking, self._required = False, any(isinstance(leaf, Tensor) and leaf.requires_grad for _, leaf in leaves)
        if self._required:
            chosen = [isinstance(leaf, Tensor) and leaf.requires_grad for _, leaf in leaves]
        self._inputs = {name: i for i, (name, yes) in enumerate(zip(names, chosen, strict=True)) if yes}
        self._parameters = {n: p for n, p in self.module.named_parameters() if p.requires_grad and p.numel()}
        self._buffers = {name: duplicate(buffer) for name, buffer in self.module.named_buffers()}
        given = {name: leaf for name, (_, leaf) in zip(names, leaves, strict=True) if isinstance(leaf, Tensor)}
        self.memory: dict[str, Memory | Repeated] = {n: m for n, x in (self._parameters | given).items() if (m := memory_of(x))}
        self._apart = self._parameters.keys() & self.memory.keys()
        tensors = {n: p.detach().contiguous() for n, p in self._parameters.items()}
        self.points = {n: as_real(t) for n, t in (tensors | {n: self._leaves[i] for n, i in self._inputs.items()}).items()}
        self._moving = dict[str, Tensor]()
        self._reached: dict[str, bool] = {}
        check_points(self.points, self._inputs.keys())
        self.samples = next((len(x) for x in self._leaves if isinstance(x, Tensor) and x.ndim), 1)
        places = {name: (parameter, parameter.data_ptr()) for name, parameter in self.module.named_parameters()}
        self.y = self._first_call(module, inputs)
        self._moving = moved_by_a_call(module, places, self.dtype)
        if self._moving:
            self.y = self.evaluate()

    def __call__(self, points: Mapping[str, Tensor]) -> Tensor:
        """Y, shape (M,), as a pure function of all the points; differentiable, and fit for `torch.func`."""
        return flattened(self._swapped(*self._given(points)), self.dtype)

    def call_elsewhere(self, points: Mapping[str, Tensor]) -> Any:
        """The output at other points of the very module that is verified, which may remember it, and not of a copy."""
        return self._swapped(*self._given(points), module=self.module)

    def _given(self, points: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[Any]]:
        """What stands in the places of parameters and buffers, and of the inputs."""
        given = {n: self._lay(n, like(points[n], p)) for n, p in self._parameters.items()}
        leaves = list(self._leaves)
        for name, i in self._inputs.items():
            leaves[i] = like(points[name], self._leaves[i])
        return given | {name: duplicate(tensor) for name, tensor in (self._buffers | self._moving).items()}, leaves

    def in_complex(self, points: Mapping[str, Tensor]) -> Tensor:
        """Y, shape (M,), with the module's arithmetic done in complex numbers. Fails where an operation has no complex form."""
        state = dict(self.module.named_parameters()) | self._buffers
        given = {n: t.detach().to(torch.complex128) for n, t in state.items() if t.is_floating_point()}
        leaves = [leaf.to(torch.complex128) if differentiable(leaf) else leaf for leaf in self._leaves]
        for name, i in self._inputs.items():
            leaves[i] = points[name].to(torch.complex128)
        given |= {name: self._lay(name, points[name].to(torch.complex128)) for name in self._parameters}
        output = self._swapped(given, leaves)
        y = torch.cat([leaf.reshape(-1) for leaf in pytree.tree_leaves(output) if differentiable(leaf)])
        if y.shape != self.y.shape or not y.is_complex():
            raise RuntimeError("the output is complex to begin with, or has not become complex")
        return y

    def along(self, name: str, point: Tensor) -> Tensor:
        """Y, shape (M,), where only `name` has moved."""
        return self({**self.points, name: point})

    def reached(self, name: str) -> bool:
        """Whether another tensor in the place of a point is all that the module reads of it: not so where it keeps a parameter in a
        list besides, or cannot be called like that."""
        if name not in self._reached:
            moved = self.points[name] * (1 + 2.0**-10) + 2.0**-10
            try:
                with self.put_back(name), self._evaluating():
                    pure = self.along(name, moved)
                    self.points[name].copy_(moved)
                    y = self.evaluate()
                self._reached[name] = not bool((pure - y).abs().max() > 1e-9 * y.abs().max())
            except Exception:  # a module may raise whatever it likes
                self._reached[name] = False
        return self._reached[name]

    @contextlib.contextmanager
    def put_back(self, *names: str) -> Iterator[dict[str, Tensor]]:
        """Meanwhile these points, or all, may be moved. Yields copies of them as they are now, and puts them back."""
        here = {name: self.points[name].clone() for name in names or self.points}
        try:
            yield here
        finally:
            for name, point in here.items():
                self.points[name].copy_(point)

    def evaluate(self) -> Tensor:
        """Y, shape (M,), at what the points hold now; no graph."""
        try:
            with self._evaluating():
                # A copy, since what comes out may be a parameter itself.
                y = flattened(self.call(self._leaves), self.dtype).detach().clone()
        except Exception as error:  # a module may raise whatever it likes
            raise InputError(
                f"the module cannot be called near its point ({type(error).__name__}: {one_line(error)}); expected it to be "
                "defined on all sides of it, where differences go: move the inputs, or let only those require a gradient that may."
            ) from error
        if len(y) != self._count:
            raise OtherOutputsError(self._count, len(y))
        return y

    def record(self, alone: Collection[str] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Y with the graph that the module itself records, hooks and all, and the leaves of that graph by name; where `alone`
        names points, nothing but these requires a gradient meanwhile."""
        output, leaves = self.record_output(alone)
        with torch.enable_grad():
            return flattened(output, self.dtype), leaves

    def record_output(self, alone: Collection[str] | None = None) -> tuple[Any, dict[str, Tensor]]:
        """The same with the module's output as it is."""
        leaves, chosen = list(self._leaves), self.points if alone is None else alone
        for name, i in self._inputs.items():
            leaves[i] = leaves[i].detach().clone().requires_grad_(name in chosen)
        for name, parameter in self._parameters.items():
            parameter.requires_grad_(name in chosen)
        try:
            with torch.enable_grad():
                output = self.call(leaves)
        except RuntimeError as error:
            raise InputError(
                f"the module cannot be called where its inputs require a gradient ({one_line(error)}): set requires_grad on those "
                "inputs alone that are to be differentiated by."
            ) from error
        finally:
            for parameter in self._parameters.values():
                parameter.requires_grad_()
        recorded = self._parameters | {name: leaves[i] for name, i in self._inputs.items()}
        return output, {name: leaf for name, leaf in recorded.items() if name in chosen}

    @functools.cached_property
    def cotangent(self) -> Tensor:
        """v, one for all looks at the gradient of vᵀY: random signs, sizes between 1/2 and 1. Shape (M,)."""
        return signed(len(self.y), stream(self.seed, "cotangent")).to(self.y.dtype)

    @functools.cached_property
    def gradient(self) -> dict[str, Tensor]:
        """Σ_m v_m ∂Y_m/∂p of every point p, by the module's own backward."""
        y, leaves = self.record()
        return pull_back(y, self.cotangent, leaves)

    def explained(self, name: str, actual: Tensor, expected: Tensor) -> Finding | None:
        """Why derivatives of shape (M, P) are wrong, where a kind of problem has a cause of its own."""
        return None

    def call_with(self, function: Callable[..., Any]) -> Any:
        """`function(module, *inputs)`, on the copies."""
        self._write_parameters()
        with torch.no_grad():
            return function(self.module, *self._arguments(self._leaves))

    def call(self, leaves: list[Any]) -> Any:
        """The module's own output at these inputs, with its buffers, and what else it moves itself, as they were to begin with."""
        self._write_parameters()
        for name, buffer in self._buffers.items():
            # A copy, since a graph recorded earlier may still need what the last call left in the old one.
            path, _, own = name.rpartition(".")
            self.module.get_submodule(path)._buffers[own] = duplicate(buffer)
        for name, value in self._moving.items():
            self.module.get_parameter(name).data.copy_(value)
        with self._draws():
            return called(self.module, self._arguments(leaves))

    def call_in_place(self, move: Callable[[Tensor], Tensor]) -> Any:
        """The module's output at moved inputs, with its buffers as the last call has left them, in the memory that they have."""
        with self._draws():
            return called(self.module, self._arguments([move(x) if differentiable(x) else x for x in self._leaves]))

    def place(self, name: str, row: int, column: int) -> Place:
        """Where an entry of the (M, P) matrix ∂Y/∂name stands."""
        key, index = self.outputs.place(row)
        return Place(key, index, self.point_index(name, column), self.letter)

    def point_index(self, name: str, column: int) -> tuple[int, ...]:
        """The index of one of the P numbers of a point."""
        return unravelled(column, tuple(self.points[name].shape))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors that go in and come out: 'input' or 'input[0]', …, and 'Y' or 'Y[0]', …"""
        tensors = zip(self._names, self._leaves, strict=True)
        return {name: tuple(as_real(leaf).shape) for name, leaf in tensors if isinstance(leaf, Tensor)} | self.outputs.shapes()

    def is_complex(self, name: str) -> bool:
        """Whether the numbers of a point are complex."""
        return (self._parameters[name] if name in self._parameters else self._leaves[self._inputs[name]]).is_complex()

    def _swapped(self, given: Mapping[str, Tensor], leaves: list[Any], module: nn.Module | None = None) -> Any:
        """The module's output with other tensors in the places of its parameters and buffers, for this one call."""
        with self._draws():
            return swapped(self._twin if module is None else module, given, self._arguments(leaves))

    def _arguments(self, leaves: list[Any]) -> Any:
        # Copies, since a module may write to what it is given.
        copies = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        for i, name in enumerate(self._names):
            copies[i] = self._lay(name, leaves[i]) if name in self.memory else copies[i]
        for i in self._inputs.values() if self._tracking else ():
            copies[i] = copies[i] if copies[i].requires_grad else copies[i].requires_grad_()
        return copies if self._plain else pytree.tree_unflatten(copies, self._structure)

    def _lay(self, name: str, value: Tensor) -> Tensor:
        """Numbers in the place of a parameter or an input, in memory as that is."""
        return self.memory[name].lay(value) if name in self.memory else value

    def _write_parameters(self) -> None:
        """Parameters that are not contiguous share no memory with their points, and take their numbers from them at each call."""
        for name in self._apart:
            parameter, value = self._parameters[name], self._lay(name, like(self.points[name], self._parameters[name]))
            if parameter.stride() == value.stride():
                parameter.data.copy_(value)
            else:
                parameter.data = value

    @property
    def parameters(self) -> Collection[str]:
        return self._parameters.keys()

    @property
    def random(self) -> bool:
        """Whether the module draws random numbers."""
        return bool(self._drawn)

    def _draws(self) -> contextlib.AbstractContextManager[None]:
        return seeded(self._drawn, self.seed) if self._drawn else contextlib.nullcontext()

    def _first_call(self, module: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
        watched = Watched()
        try:
            with watched:
                output = self._tried()
        except InputError:
            raise
        except Exception as error:
            raise refusal(module, inputs, self.dtype, error) from error
        self._drawn = watched.drawn
        self.outputs = Outputs(output, self.letter)
        self._count = len(flattened(output, self.dtype))
        y = self.evaluate() if self._drawn else flattened(output, self.dtype).detach()
        self.unit = self.outputs.unit.to(y.dtype)
        return y

    def _tried(self) -> Any:
        """The output, without a graph if the module can do without; with inputs that require a gradient only where it must have."""
        try:
            with torch.no_grad():
                return self.call(self._leaves)
        except RuntimeError:
            self._evaluating = torch.enable_grad
        with torch.enable_grad():
            try:
                return self.call(self._leaves)
            except RuntimeError:
                if not self._required:
                    raise
                self._tracking = True
                return self.call(self._leaves)
