"""A window of micro-batches in double precision: the gradient of each, of all at once, and of somebody's own loop."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from nets.errors import InputError
from nets.verification.accumulation.draws import NoReplay, drawing
from nets.verification.accumulation.graph_rounding import GraphRounding
from nets.verification.accumulation.joining import Pair, call, cloned, copied_pair, is_one_argument, samples
from nets.verification.accumulation.refusals import of_the_backward, of_the_closure, of_the_loss, of_the_module
from nets.verification.accumulation.state import Reached, equal
from nets.verification.problem.pytree import as_real, described, differentiable
from nets.verification.problem.randomness import SOURCES, Watched, seeded, stream
from nets.verification.progress import following

Gradients: TypeAlias = dict[str, Tensor]
Closure: TypeAlias = Callable[[nn.Module, Callable[..., Tensor], list[Any]], object]


class Window:
    """Module, loss and micro-batches. Each evaluation starts with all state as it was at the beginning.

    Attributes:
        pairs: (inputs, targets) of each micro-batch.
        one: whether a list is one argument of the module.
        sizes: N_m, the samples in each micro-batch.
        alone: the output of each micro-batch alone; None for one without samples.
        draws: whether the output depends on random numbers that the module draws.
        loss: of output and target.
        module: what is differentiated.
        reached: what calls can change.
        seed: of what is drawn.
        loss_eps: eps of the precision in which the loss gave its last value; 0 before it gave one.
    """

    def __init__(
        self, reached: Reached, module: nn.Module, loss: Callable[..., Tensor], micro_batches: Iterable[Any], seed: int
    ) -> None:
        self.seed, self.reached, self.module, self.loss = seed, reached, module, loss
        self._running, self.loss_eps = False, 0.0
        self._values = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad and p.numel()}
        if not self._values:
            raise InputError("the module has no parameter that requires a gradient; expected one whose gradient is accumulated.")
        self._given = list(micro_batches)
        self.pairs = [copied_pair(number, given) for number, given in enumerate(self._given, start=1)]
        if not self.pairs:
            raise InputError("there are no micro-batches; expected a list of (input, target).")
        self.one = is_one_argument(module, self.pairs)
        self.sizes = tuple(samples(given, self.one) for given, _ in self.pairs)
        if not sum(self.sizes):
            raise InputError("every micro-batch is empty; expected at least one sample.")
        self._drawn = bool(reached.generators)
        self.alone = [self.outputs(m) if size else None for m, size in enumerate(self.sizes)]
        self.draws = self._drawn and self._varies()

    # What the module and the loss give.

    def called(self, given: Any) -> Any:
        """The output, with a graph."""
        return call(self.module, cloned(given), self.one)

    def forward(self, given: Any) -> Any:
        """The output, without a graph."""
        self.reset()
        with seeded(tuple(SOURCES), self.seed), Watched() as watched:
            outputs = _detached(self.called(given))
        self._drawn = self._drawn or bool(watched.drawn)
        return outputs

    def outputs(self, m: int) -> Any:
        """Those of a micro-batch alone, without a graph.

        Raises:
            InputError: where the module does not take it.
        """
        try:
            outputs = self.forward(self.pairs[m][0])
        except InputError:
            raise
        except Exception as error:  # whatever a module of the caller's raises
            everywhere = self._raises(lambda pairs: call(self.module, pairs[m][0], self.one))
            raise of_the_module(error, f"micro-batch {m + 1}", [given for given, _ in self.pairs], everywhere) from error
        if not any(map(differentiable, pytree.tree_leaves(outputs))):
            raise InputError(f"the module returns {described(outputs)}; expected tensors of floating-point or complex numbers.")
        return outputs

    def value(self, output: Any, target: Any) -> Tensor:
        """The loss of an output, with a graph.

        Raises:
            InputError: where the loss raises, or gives no scalar.
        """
        try:
            value = self.loss(output, cloned(target))
        except (InputError, NoReplay):
            raise
        except Exception as error:  # whatever a loss of the caller's raises
            everywhere = self._raises(lambda pairs: [self.loss(call(self.module, x, self.one), t) for x, t in pairs])
            raise of_the_loss(error, everywhere) from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise InputError(f"the loss is {shape}; expected a scalar tensor: take its mean or its sum.")
        if value.is_complex():
            raise InputError("the loss is a complex number; expected a real one, which can be descended: take its absolute value.")
        self.loss_eps = torch.finfo(value.dtype).eps if value.is_floating_point() else 0.0
        return value.reshape(())

    def cotangents(self, outputs: Any, target: Any) -> list[Tensor]:
        """∂ℓ/∂Y of all that can be differentiated in an output; empty where ℓ does not depend on it."""
        self.reset()
        leaves, structure = pytree.tree_flatten(outputs)
        points = [leaf.detach().clone().requires_grad_() if differentiable(leaf) else leaf for leaf in leaves]
        free = [point for point in points if differentiable(point)]
        with seeded(tuple(SOURCES), self.seed):
            value = self.value(pytree.tree_unflatten(points, structure), target)
        if not free or not value.requires_grad:
            return []
        with _backward():
            return [as_real(g) for g in torch.autograd.grad(value, free, allow_unused=True, materialize_grads=True)]

    # Gradients by the parameters.

    def gradient(self, value_of: Callable[[], Tensor], but: str = "") -> Gradients:
        """∂ℓ/∂θ; the hooks that a loop's backward passes run do not run here."""
        self.reset(but)
        with self.reached.silenced(), seeded(tuple(SOURCES), self.seed):
            value = value_of()
            if value.requires_grad:
                with _backward():
                    value.backward()
        return self._collected()

    def part(self, m: int, but: str = "") -> Gradients:
        """∂ℓ_m/∂θ of a micro-batch alone; zero where it has no samples, or a loss that is not finite, as nothing in it counts."""
        given, target = self.pairs[m]
        found = self.gradient(lambda: self.value(self.called(given), target), but) if self.sizes[m] else {}
        if not found or not all(torch.isfinite(gradient).all() for gradient in found.values()):
            return {name: torch.zeros_like(as_real(value)) for name, value in self._values.items()}
        return found

    def parts(self) -> list[Gradients]:
        return [self.part(m) for m in following("micro-batch", range(len(self.pairs)))]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within this context each evaluation starts with the state that the one before left."""
        self.reset()
        self._running = True
        try:
            yield
        finally:
            self._running = False

    @property
    def normalises(self) -> bool:
        """Whether something in the module takes its statistics from the batch."""
        return any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in self.module.modules())

    def reset(self, but: str = "") -> None:
        """All state as at the start, save for what has the path `but`; no gradients."""
        if self._running:
            self.reached.clear_gradients()
        else:
            self.reached.restore(but)

    # Somebody's own loop.

    def run(self, closure: Closure) -> Gradients:
        """What a loop leaves in `.grad`, zero where that is nothing."""
        self.reset()
        return self._left(closure)

    def run_again(self, closure: Closure, clear: bool) -> Gradients:
        """The same for a later call, which finds what those before have left; `.grad` is cleared before it, or is not."""
        if clear:
            self.reached.clear_gradients()
        return self._left(closure)

    def run_rounded(self, closure: Closure, purpose: str) -> Gradients:
        """The same, one call, with what stands in its graphs rounded at random."""
        self.reset()
        return self._left(closure, GraphRounding(stream(self.seed, purpose)))

    def moved(self) -> str:
        """A parameter that the last loop has moved, or ''."""
        parameters = dict(self.module.named_parameters())
        return next((name for name, value in self._values.items() if not equal(parameters[name].detach(), value)), "")

    def _left(self, closure: Closure, mode: TorchDispatchMode | None = None) -> Gradients:
        pairs = [cloned(pair) for pair in self.pairs]
        try:
            with seeded(tuple(SOURCES), self.seed), mode or nullcontext():
                closure(self.module, self.loss, pairs)
        except InputError:
            raise
        except Exception as error:  # whatever is wrong in a loop of the caller's
            raise of_the_closure(error, self._raises(lambda given: closure(self.module, self.loss, given))) from error
        return self._collected(clear=False)

    def _collected(self, clear: bool = True) -> Gradients:
        found = {}
        parameters = dict(self.module.named_parameters())
        for name, value in self._values.items():
            own = parameters[name].grad
            gradient = torch.zeros_like(value) if own is None else own.to_dense() if own.is_sparse else own
            found[name] = as_real(gradient).detach().to(torch.float64).clone()
        if clear:
            self.reached.clear_gradients()
        return found

    def _varies(self) -> bool:
        """Whether other random numbers give other outputs."""
        found = []
        for key in (self.seed, self.seed + 1):
            self.reset()
            with drawing(key, self.reached.generators):
                found.append([_detached(self.called(g)) for (g, _), size in zip(self.pairs, self.sizes, strict=True) if size])
        pairs = zip(*map(pytree.tree_leaves, found), strict=False)
        return any(isinstance(one, Tensor) and not torch.equal(one, other) for one, other in pairs)

    def _raises(self, action: Callable[[list[Pair]], object]) -> bool:
        """Whether it raises with everything in the precision that it was given in, too."""
        with self.reached.as_given(), seeded(tuple(SOURCES), self.seed):
            try:
                action([cloned(tuple(pair)) for pair in self._given])
            except Exception:
                return True
        return False


def finite(value: Tensor) -> Tensor:
    """The loss of the whole batch.

    Raises:
        InputError: if it is not finite.
    """
    if not math.isfinite(value.detach()):
        raise InputError(
            f"the loss of the whole batch is {float(value.detach())}; expected a finite number: there must be something in "
            "them that counts."
        )
    return value


@contextmanager
def _backward() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever a backward pass of the caller's raises
        raise of_the_backward(error) from error


def _detached(outputs: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, outputs)
