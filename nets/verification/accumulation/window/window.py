"""Module, loss and micro-batches in double precision: the gradient of each micro-batch, and the one that a loop
leaves."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from nets.errors import InputError
from nets.torch_internals import TorchDispatchMode, pytree
from nets.verification.accumulation.rounding.modes import GraphRounding
from nets.verification.accumulation.state.random_draws import CannotReplay, drawing_from
from nets.verification.accumulation.state.snapshot import StateSnapshot, equal
from nets.verification.accumulation.window.errors import backward_error, closure_error, loss_error, module_error
from nets.verification.accumulation.window.micro_batches import (
    Pair,
    call_module,
    cloned,
    copied_pair,
    is_single_argument,
    sample_count,
)  # fmt: skip
from nets.verification.accumulation.window.weights import Gradients
from nets.verification.attempt import callers_errors_as
from nets.verification.problem.pytree import as_real, differentiable, output_in_words
from nets.verification.problem.randomness import SOURCES, Watched, seeded, stream
from nets.verification.progress import following

Closure: TypeAlias = Callable[[nn.Module, Callable[..., Tensor], list[Any]], object]
"""A loop of the caller's: closure(module, loss, micro_batches) leaves its gradient in `.grad`."""


class Window:
    """Module, loss and micro-batches. Each evaluation starts from the same state.

    Attributes:
        module: what is differentiated.
        loss: of output and target; may be replaced.
        pairs: (input, target) of each micro-batch, copied.
        single: whether an input that is a list or tuple is one argument of the module.
        sizes: N_m, the samples in each micro-batch.
        alone: the output of each micro-batch, called by itself; None for one without samples.
        draws: whether the output depends on random numbers that the module draws.
        snapshot: the state that calls can change.
        seed: of all random numbers.
        loss_eps: eps of the precision of the last loss; 0 before the first.

    Raises:
        InputError: for micro-batches that are not pairs, that are all empty, or that the module cannot be called with.
    """

    def __init__(
        self,
        snapshot: StateSnapshot,
        module: nn.Module,
        loss: Callable[..., Tensor],
        micro_batches: Iterable[Any],
        seed: int,
    ) -> None:
        self.seed, self.snapshot, self.module, self.loss = seed, snapshot, module, loss
        self._keeping_state, self.loss_eps = False, 0.0
        self._values = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad and p.numel()}
        if not self._values:
            raise InputError(
                "the module has no parameter that requires a gradient; expected one whose gradient is accumulated."
            )
        self._given = list(micro_batches)
        self.pairs = [copied_pair(number, given) for number, given in enumerate(self._given, start=1)]
        if not self.pairs:
            raise InputError("there are no micro-batches; expected a list of (input, target).")
        self.single = is_single_argument(module, self.pairs)
        self.sizes = tuple(sample_count(given, self.single) for given, _ in self.pairs)
        if not sum(self.sizes):
            raise InputError("every micro-batch is empty; expected at least one sample.")
        self._may_draw = bool(snapshot.generators)
        self.alone = [self._output(m) if size else None for m, size in enumerate(self.sizes)]
        self.draws = self._may_draw and self._depends_on_draws()

    @property
    def has_batch_norm(self) -> bool:
        """Whether a layer of the module takes its statistics from the batch."""
        return any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in self.module.modules())

    def reset(self, except_for: str = "") -> None:
        """Clear all gradients and restore all state, except for the value with this path; see `keeping_state`."""
        if self._keeping_state:
            self.snapshot.clear_gradients()
        else:
            self.snapshot.restore(except_for)

    @contextmanager
    def keeping_state(self) -> Iterator[None]:
        """Within this context each evaluation starts from the state that the previous one left."""
        self.reset()
        self._keeping_state = True
        try:
            yield
        finally:
            self._keeping_state = False

    @contextmanager
    def loss_replaced(self, loss: Callable[..., Any]) -> Iterator[None]:
        """Within this context the window has another loss."""
        before, self.loss = self.loss, loss
        try:
            yield
        finally:
            self.loss = before

    # Outputs and losses.

    def forward_with_graph(self, given: Any) -> Any:
        """The output for an input, from the state as it is."""
        return call_module(self.module, cloned(given), self.single)

    def forward(self, given: Any) -> Any:
        """The output for an input, without a graph, from the state at the start."""
        self.reset()
        with seeded(tuple(SOURCES), self.seed), Watched() as watched:
            outputs = _detached(self.forward_with_graph(given))
        self._may_draw = self._may_draw or bool(watched.drawn)
        return outputs

    def loss_of(self, output: Any, target: Any) -> Tensor:
        """The loss of an output, with a graph, from the state as it is.

        Raises:
            InputError: where the loss raises, or is no real scalar.
        """
        copy = cloned(target)
        try:
            value = self.loss(output, copy)
        except (InputError, CannotReplay):
            raise
        except Exception as error:  # a loss of the caller's may raise anything
            everywhere = self._raises(
                lambda pairs: [self.loss(call_module(self.module, x, self.single), t) for x, t in pairs]
            )
            raise loss_error(error, everywhere) from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise InputError(f"the loss is {shape}; expected a scalar tensor: take its mean or its sum.")
        if value.is_complex():
            raise InputError("the loss is a complex number; expected a real one: take its absolute value.")
        self.loss_eps = torch.finfo(value.dtype).eps if value.is_floating_point() else 0.0
        return value.reshape(())

    def cotangents(self, outputs: Any, target: Any) -> list[Tensor]:
        """∂ℓ/∂Y for each output tensor that can be differentiated; empty where ℓ does not depend on the outputs."""
        self.reset()
        leaves, structure = pytree.tree_flatten(outputs)
        points = [leaf.detach().clone().requires_grad_() if differentiable(leaf) else leaf for leaf in leaves]
        free = [point for point in points if differentiable(point)]
        with seeded(tuple(SOURCES), self.seed):
            value = self.loss_of(pytree.tree_unflatten(points, structure), target)
        if not free or not value.requires_grad:
            return []
        with callers_errors_as(backward_error):
            return [as_real(g) for g in torch.autograd.grad(value, free, allow_unused=True, materialize_grads=True)]

    # Gradients by the parameters.

    def gradient(self, loss: Callable[[], Tensor], except_for: str = "") -> Gradients:
        """∂ℓ/∂θ of a loss that is computed from the state at the start, without post-accumulate-grad hooks."""
        self.reset(except_for)
        with self.snapshot.without_accumulation_hooks(), seeded(tuple(SOURCES), self.seed):
            value = loss()
            if value.requires_grad:
                with callers_errors_as(backward_error):
                    value.backward()
        found = self._gradients()
        self.snapshot.clear_gradients()
        return found

    def micro_batch_gradient(self, m: int, except_for: str = "") -> Gradients:
        """G_m = ∂ℓ_m/∂θ of one micro-batch; zero if it has no samples, or if its loss is not finite, such as a mean
        over no samples."""
        given, target = self.pairs[m]
        if self.sizes[m]:
            found = self.gradient(lambda: self.loss_of(self.forward_with_graph(given), target), except_for)
            if all(torch.isfinite(gradient).all() for gradient in found.values()):
                return found
        return {name: torch.zeros_like(as_real(value)) for name, value in self._values.items()}

    def micro_batch_gradients(self) -> list[Gradients]:
        """G_m of every micro-batch."""
        return [self.micro_batch_gradient(m) for m in following("micro-batch", range(len(self.pairs)))]

    # A loop of the caller's.

    def run(self, closure: Closure) -> Gradients:
        """What a loop leaves in `.grad`, from the state at the start; zero where that is None."""
        self.reset()
        return self._run(closure)

    def run_again(self, closure: Closure, clear: bool) -> Gradients:
        """What a loop leaves in a later call, from the state that earlier calls left. `clear` sets `.grad` to None
        before."""
        if clear:
            self.snapshot.clear_gradients()
        return self._run(closure)

    def run_rounded(self, closure: Closure, purpose: str) -> Gradients:
        """What a loop leaves in one call from the state at the start, with stochastic rounding in its graphs. `purpose`
        names the random stream."""
        self.reset()
        return self._run(closure, GraphRounding(stream(self.seed, purpose)))

    def changed_parameter(self) -> str:
        """The name of a parameter whose value the last loop changed; '' where it changed none."""
        parameters = dict(self.module.named_parameters())
        return next((name for name, value in self._values.items() if not equal(parameters[name].detach(), value)), "")

    def _run(self, closure: Closure, mode: TorchDispatchMode | None = None) -> Gradients:
        pairs = [cloned(pair) for pair in self.pairs]
        try:
            with seeded(tuple(SOURCES), self.seed), mode or nullcontext():
                closure(self.module, self.loss, pairs)
        except InputError:
            raise
        except Exception as error:  # a loop of the caller's may raise anything
            raise closure_error(error, self._raises(lambda given: closure(self.module, self.loss, given))) from error
        return self._gradients()

    def _gradients(self) -> Gradients:
        found = {}
        parameters = dict(self.module.named_parameters())
        for name, value in self._values.items():
            own = parameters[name].grad
            gradient = torch.zeros_like(value) if own is None else own.to_dense() if own.is_sparse else own
            found[name] = as_real(gradient).detach().to(torch.float64).clone()
        return found

    def _output(self, m: int) -> Any:
        """The output of a micro-batch by itself, without a graph.

        Raises:
            InputError: where the module cannot be called with it, or returns nothing that can be differentiated.
        """

        def refusal(error: Exception) -> InputError:
            everywhere = self._raises(lambda pairs: call_module(self.module, pairs[m][0], self.single))
            return module_error(error, m + 1, [given for given, _ in self.pairs], everywhere)

        with callers_errors_as(refusal):
            outputs = self.forward(self.pairs[m][0])
        if not any(map(differentiable, pytree.tree_leaves(outputs))):
            raise InputError(
                f"the module returns {output_in_words(outputs)}; expected tensors of floating-point or complex numbers."
            )
        return outputs

    def _depends_on_draws(self) -> bool:
        """Whether other random numbers give other outputs."""
        found = []
        for seed in (self.seed, self.seed + 1):
            self.reset()
            with drawing_from(seed, self.snapshot.generators):
                given = [x for (x, _), size in zip(self.pairs, self.sizes, strict=True) if size]
                found.append([_detached(self.forward_with_graph(x)) for x in given])
        pairs = zip(*map(pytree.tree_leaves, found), strict=False)
        return any(isinstance(one, Tensor) and not torch.equal(one, other) for one, other in pairs)

    def _raises(self, action: Callable[[list[Pair]], object]) -> bool:
        """Whether an action raises an error in the original precision, too."""
        with self.snapshot.in_original_precision(), seeded(tuple(SOURCES), self.seed):
            try:
                action([cloned(tuple(pair)) for pair in self._given])
            except Exception:  # code of the caller's may raise anything
                return True
        return False


def finite(value: Tensor) -> Tensor:
    """The loss of the whole batch, unless it is not finite.

    Raises:
        InputError: if it is not finite.
    """
    if not math.isfinite(value.detach()):
        raise InputError(
            f"the loss of the whole batch is {float(value.detach())}; expected a finite number: at least one sample "
            "or token must count."
        )
    return value


def _detached(outputs: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, outputs)
