"""A module at a point, on copies in double precision, as one real function of named real tensors: this is what is
verified."""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nets.records.reason import Finding
from nets.torch_internals import pytree
from nets.verification.attempt import attempt, callers_errors_as
from nets.verification.problem.calling.errors import (
    OtherOutputsError,
    first_call_error,
    later_call_error,
    recorded_call_error,
)
from nets.verification.problem.calling.functional import PureFunction
from nets.verification.problem.calling.inputs import Inputs
from nets.verification.problem.calling.module_copy import ModuleCopy
from nets.verification.problem.graph import pull_back
from nets.verification.problem.outputs import EntryIndex, Outputs
from nets.verification.problem.points import check_points
from nets.verification.problem.pytree import differentiable, flattened, unravelled
from nets.verification.problem.randomness import Watched, signed, stream
from nets.verification.problem.strides import Layout


class Problem:
    """Y = f(θ, X), with everything that is floating point in Y flattened to one vector of M real numbers.

    A complex number counts as two real ones, real part first, in a last axis of its own. Every call starts from the
    same buffers and draws the same random numbers.

    Attributes:
        module: a copy; the caller's module is never called.
        points: parameter → its value, then 'input' (or 'input[0]', 'input[1]', …) → X. They share memory with what the
            module reads: writing to a point moves the function. Frozen parameters and integer inputs are not among
            them.
        outputs: which row of Y belongs to which output tensor.
        y: Y, shape (M,).
        unit: the unit roundoff of each output in the precision in which the module returns it, shape (M,).
        samples: N, the size of the first axis of the first input.
        dtype: the precision of the copy; None where it has its own.
        seed: of the random numbers that the module draws, and of every random choice made here.

    Args:
        module: any module.
        inputs: its arguments, tensors or nested lists, tuples and dicts of them. Where some require a gradient, only
            those are points, otherwise all that are floating point or complex.
        dtype: the precision of the copy; None to leave it as it is.
        seed: of the random numbers.

    Raises:
        InputError: if the module cannot be copied or called, or there is nothing to differentiate.
    """

    letter = "Y"  # the name of the output in a derivative

    def __init__(
        self, module: nn.Module, inputs: tuple[Any, ...], *, dtype: torch.dtype | None = torch.float64, seed: int = 0
    ) -> None:
        self.dtype, self.seed = dtype, seed
        self._copy, self._inputs = ModuleCopy(module, dtype, seed), Inputs(inputs, dtype)
        self._function = PureFunction(self._copy, self._inputs)
        self.module, self.samples = self._copy.module, self._inputs.samples
        self.points = self._copy.points | self._inputs.points
        check_points(self.points, self._inputs.indices)
        self._grad_mode: type[torch.no_grad] | type[torch.enable_grad] = torch.no_grad
        self._replaceable: dict[str, bool] = {}
        output = self._first_call(module, inputs)
        self.outputs = Outputs(output, self.letter)
        self.y = flattened(output, self.dtype).detach()
        self.unit = self.outputs.unit.to(self.y.dtype)
        if self.random:  # the first call did not draw from the seed
            self.y = self.evaluate()
        self._copy.find_moving(module)
        if self._copy.moving:
            self.y = self.evaluate()

    def _first_call(self, module: nn.Module, inputs: tuple[Any, ...]) -> Any:
        """The output, and which random generators the module draws from.

        The call records a graph only if the module cannot be called otherwise, and its inputs require a gradient only
        if the caller's do and the module cannot be called otherwise.
        """
        watched = Watched()
        with callers_errors_as(lambda error: first_call_error(module, inputs, self.dtype, error)), watched:
            output = self._output_in_some_mode()
        self._copy.drawn = watched.drawn
        return output

    def _output_in_some_mode(self) -> Any:
        try:
            with torch.no_grad():
                return self.call(self._inputs.leaves)
        except RuntimeError:
            self._grad_mode = torch.enable_grad
        with torch.enable_grad():
            try:
                return self.call(self._inputs.leaves)
            except RuntimeError:
                if not self._inputs.required:
                    raise
                self._inputs.tracked = True
                return self.call(self._inputs.leaves)

    # The module itself, at the present values of the points.

    def call(self, leaves: list[Any]) -> Any:
        """The module's own output at these inputs."""
        self._copy.reset()
        return self._copy.call(self._inputs.arguments(leaves))

    def call_in_place(self, move: Callable[[Tensor], Tensor]) -> Any:
        """The module's output at moved inputs, with its buffers as the last call left them, in the same memory."""
        leaves = [move(x) if differentiable(x) else x for x in self._inputs.leaves]
        return self._copy.call(self._inputs.arguments(leaves))

    def call_with(self, function: Callable[..., Any]) -> Any:
        """`function(module, *inputs)`, on the copies."""
        self._copy.write_parameters()
        with torch.no_grad():
            return function(self.module, *self._inputs.arguments(self._inputs.leaves))

    def evaluate(self) -> Tensor:
        """Y, shape (M,), without a graph."""
        with callers_errors_as(later_call_error), self._grad_mode():
            # A copy, since the output may be a parameter itself.
            y = flattened(self.call(self._inputs.leaves), self.dtype).detach().clone()
        if len(y) != len(self.y):
            raise OtherOutputsError(len(self.y), len(y))
        return y

    @contextlib.contextmanager
    def put_back(self, *names: str) -> Iterator[dict[str, Tensor]]:
        """Within this context these points, or all, may be moved. Yields copies of their values, which they have again
        afterwards."""
        here = {name: self.points[name].clone() for name in names or self.points}
        try:
            yield here
        finally:
            for name, point in here.items():
                self.points[name].copy_(point)

    # The gradient that the module's own graph gives.

    def record(self, alone: Collection[str] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Y with the graph that the module itself records, hooks included, and the leaves of that graph by name.

        Args:
            alone: the points that require a gradient; None for all.
        """
        output, leaves = self.record_output(alone)
        with torch.enable_grad():
            return flattened(output, self.dtype), leaves

    def record_output(self, alone: Collection[str] | None = None) -> tuple[Any, dict[str, Tensor]]:
        """The same with the module's output as it is."""
        leaves, chosen = list(self._inputs.leaves), self.points if alone is None else alone
        for name, i in self._inputs.indices.items():
            leaves[i] = leaves[i].detach().clone().requires_grad_(name in chosen)
        with self._copy.requiring_gradients(chosen):
            try:
                with torch.enable_grad():
                    output = self.call(leaves)
            except RuntimeError as error:
                raise recorded_call_error(error) from error
        recorded = self._copy.parameters | {name: leaves[i] for name, i in self._inputs.indices.items()}
        return output, {name: leaf for name, leaf in recorded.items() if name in chosen}

    @functools.cached_property
    def cotangent(self) -> Tensor:
        """v, the cotangent of every gradient of vᵀY: random signs, sizes between 1/2 and 1. Shape (M,)."""
        return signed(len(self.y), stream(self.seed, "cotangent")).to(self.y.dtype)

    @functools.cached_property
    def gradient(self) -> dict[str, Tensor]:
        """Σ_m v_m ∂Y_m/∂p of every point p, by the module's own backward."""
        y, leaves = self.record()
        return pull_back(y, self.cotangent, leaves)

    # The module as a pure function of the points.

    def __call__(self, points: Mapping[str, Tensor]) -> Tensor:
        """Y, shape (M,), as a pure function of all the points; differentiable, and fit for `torch.func`."""
        return flattened(self._function(points), self.dtype)

    def along(self, name: str, point: Tensor) -> Tensor:
        """Y, shape (M,), where only `name` has moved."""
        return self({**self.points, name: point})

    def call_elsewhere(self, points: Mapping[str, Tensor]) -> Any:
        """The output at other points. The call is made on the verified module itself, so state that it keeps is
        included."""
        return self._function.remembered(points)

    def in_complex(self, points: Mapping[str, Tensor]) -> Tensor:
        """Y, shape (M,), computed in complex numbers. Fails where an operation has no complex form."""
        output = self._function.in_complex(points)
        y = torch.cat([leaf.reshape(-1) for leaf in pytree.tree_leaves(output) if differentiable(leaf)])
        if y.shape != self.y.shape or not y.is_complex():
            raise RuntimeError("the output is complex to begin with, or has not become complex")
        return y

    def reached(self, name: str) -> bool:
        """Whether the pure function depends on a point as the module does. It does not where the module also keeps the
        parameter in a list, which no call can replace, or where the module cannot be called as a pure function."""
        if name not in self._replaceable:
            self._replaceable[name] = attempt(lambda: self._same_as_pure(name)).or_none() or False
        return self._replaceable[name]

    def _same_as_pure(self, name: str) -> bool:
        """Whether the module and the pure function have the same output where a point has moved."""
        moved = self.points[name] * (1 + 2.0**-10) + 2.0**-10
        with self.put_back(name), self._grad_mode():
            pure = self.along(name, moved)
            self.points[name].copy_(moved)
            y = self.evaluate()
        return not bool((pure - y).abs().max() > 1e-9 * y.abs().max())

    # Names, indices and layouts.

    @property
    def parameters(self) -> Collection[str]:
        """The names of those points that are parameters."""
        return self._copy.parameters.keys()

    @property
    def random(self) -> bool:
        """Whether the module draws random numbers."""
        return bool(self._copy.drawn)

    def same_draws(self) -> contextlib.AbstractContextManager[None]:
        """A context in which the module draws the same random numbers as in a call."""
        return self._copy.same_draws()

    @property
    def layouts(self) -> Mapping[str, Layout]:
        """The memory layouts of the parameters and inputs that are not contiguous."""
        return self._copy.layouts.known | self._inputs.layouts.known

    def laid_out(self, name: str, layout: Layout | None) -> contextlib.AbstractContextManager[None]:
        """A context in which the module is given this parameter or input in another layout; None for contiguous."""
        owner = self._copy.layouts if name in self._copy.parameters else self._inputs.layouts
        return owner.replaced(name, layout)

    def is_complex(self, name: str) -> bool:
        """Whether the numbers of a point are complex."""
        tensors = self._copy.parameters | {n: self._inputs.leaves[i] for n, i in self._inputs.indices.items()}
        return tensors[name].is_complex()

    def entry_index(self, name: str, row: int, column: int) -> EntryIndex:
        """The indices of an entry of the (M, P) matrix ∂Y/∂name."""
        key, index = self.outputs.index(row)
        return EntryIndex(key, index, self.point_index(name, column), self.letter)

    def point_index(self, name: str, column: int) -> tuple[int, ...]:
        """The index of one of the P numbers of a point."""
        return unravelled(column, tuple(self.points[name].shape))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the inputs and outputs: 'input' or 'input[0]', …, and 'Y' or 'Y[0]', …"""
        return self._inputs.shapes | self.outputs.shapes()

    def explained(self, name: str, actual: Tensor, expected: Tensor) -> Finding | None:
        """Why derivatives of shape (M, P) are wrong, where a kind of problem has causes of its own; None for others."""
        return None
