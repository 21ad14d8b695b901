"""A window of micro-batches, on copies in double precision: the gradient of each, of all at once, and of somebody's own loop."""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from nets.errors import InputError
from nets.verification.copies import copied, copied_input, one_line
from nets.verification.leaves import as_real, differentiable
from nets.verification.progress import following
from nets.verification.randomness import SOURCES, Watched, seeded

Gradients: TypeAlias = dict[str, Tensor]
Closure: TypeAlias = Callable[[nn.Module, Callable[..., Tensor], list[Any]], object]

SAME = 1e-9
"""Two vectors in double precision that differ by less than this part of the larger one are the same but for rounding."""


class Window:
    """Module, loss and micro-batches.

    Attributes:
        sizes: N_m, the samples in each micro-batch.
        draws: whether the output depends on random numbers that the module draws.
        separable: whether the loss is a sum of one term for each micro-batch; known once the weights are.
        depends: whether the output of a sample depends on the others in its batch.
        seed: of what is drawn.
    """

    def __init__(self, module: nn.Module, loss: Callable[..., Tensor], micro_batches: Iterable[Any], seed: int) -> None:
        self.seed, self._original = seed, module
        self._module = copied(module, torch.float64)
        self._loss: Any = copied(loss, torch.float64) if isinstance(loss, nn.Module) else loss
        self._buffers = {name: buffer.clone() for name, buffer in self._module.named_buffers()}
        self._values = {n: p.detach().clone() for n, p in self._module.named_parameters() if p.requires_grad and p.numel()}
        if not self._values:
            raise InputError("the module has no parameter that requires a gradient; expected one whose gradient is accumulated.")
        self._micro_batches = [_pair(number, given) for number, given in enumerate(micro_batches, start=1)]
        if not self._micro_batches:
            raise InputError("there are no micro-batches; expected a list of (input, target).")
        self.sizes = tuple(map(_samples, self._micro_batches))
        self._all = _together(self._micro_batches)
        with seeded(tuple(SOURCES), seed), Watched() as watched, torch.no_grad():
            self._outputs = self._forward(self._all[0])
        self.separable = True
        self.draws = bool(watched.drawn) and self._varies()
        self.depends = not self.draws and self._depends()

    @staticmethod
    def output(module: nn.Module, given: Any) -> Any:
        """`module(input)`, with several inputs where they are a tuple, a list or a dict."""
        if isinstance(given, tuple | list):
            return module(*given)
        return module(**given) if isinstance(given, dict) else module(given)

    def whole(self) -> Gradients:
        """∂ℓ/∂θ of all samples at once."""
        return self._gradient(*self._all)

    def parts(self) -> list[Gradients]:
        """∂ℓ_m/∂θ of each micro-batch alone; zero for one without samples, or whose loss is not finite, as nothing in it counts."""
        found = list[Gradients]()
        pairs = list(zip(self._micro_batches, self.sizes, strict=True))
        for (given, target), size in following("micro-batch", pairs):
            gradients = self._gradient(given, target, strict=False) if size else {}
            if not gradients or not all(torch.isfinite(gradient).all() for gradient in gradients.values()):
                gradients = {name: torch.zeros_like(as_real(value)) for name, value in self._values.items()}
            found.append(gradients)
        return found

    def weights(self, parts: list[Gradients], whole: Gradients) -> tuple[float, ...]:
        """w_m, with which the ∂ℓ_m/∂Y are the parts of ∂ℓ/∂Y; where Y is not laid out by samples, the w_m that come nearest to
        Σ w_m ∂ℓ_m/∂θ = ∂ℓ/∂θ."""
        told = self._weights_by_outputs()
        if told is not None:
            return told
        matrix = torch.stack([torch.cat([part[name].reshape(-1) for name in whole]) for part in parts], 1)
        right = torch.cat([gradient.reshape(-1) for gradient in whole.values()])
        return tuple(torch.linalg.lstsq(matrix, right[:, None], driver="gelsd").solution[:, 0].tolist())

    def run(self, closure: Closure, times: int = 1) -> tuple[str, Gradients]:
        """What so many calls of a loop leave in `.grad`, zero where that is nothing; and a parameter that it moved, or ''."""
        self._reset()
        with seeded(tuple(SOURCES), self.seed):
            for _ in range(times):
                closure(self._module, self._loss, [pytree.tree_map(_clone, pair) for pair in self._micro_batches])
        found, moved = self._collected(), ""
        for name, parameter in self._parameters().items():
            if not torch.equal(parameter.detach(), self._values[name]):
                moved = moved or name
                parameter.data.copy_(self._values[name])
        return moved, found

    def calm(self) -> "Window":
        """The same in eval mode."""
        twin = copied(self._original, torch.float64).eval()
        return Window(twin, self._loss, self._micro_batches, self.seed)

    @property
    def normalises(self) -> bool:
        """Whether something in the module takes its statistics from the batch."""
        return any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in self._module.modules())

    def _gradient(self, given: Any, target: Any, strict: bool = True) -> Gradients:
        self._reset()
        with seeded(tuple(SOURCES), self.seed):
            value = self._value(self.output(self._module, pytree.tree_map(_clone, given)), pytree.tree_map(_clone, target))
            if strict and not math.isfinite(value.detach()):
                raise InputError(
                    f"the loss of the whole batch is {float(value.detach())}; expected a finite number: there must be something in "
                    "them that counts."
                )
            if value.requires_grad:
                value.backward()
        return self._collected()

    def _value(self, output: Any, target: Any) -> Tensor:
        try:
            value = self._loss(output, target)
        except Exception as error:
            raise InputError(
                f"the loss raises {type(error).__name__} ({one_line(error)}); expected loss(output, target) to be a scalar, in "
                "double precision: give a loss that has numbers of its own (weights, say) as a module, so that they are cast too."
            ) from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"the loss is {shape}; expected a scalar tensor: take its mean or its sum.")
        return value.reshape(())

    def _forward(self, given: Any) -> Any:
        self._reset()
        return self.output(self._module, pytree.tree_map(_clone, given))

    def _varies(self) -> bool:
        """Whether other random numbers give other outputs."""
        with torch.no_grad(), seeded(tuple(SOURCES), self.seed + 1):
            again = pytree.tree_leaves(self._forward(self._all[0]))
        return any(
            isinstance(one, Tensor) and not torch.equal(one, other)
            for one, other in zip(pytree.tree_leaves(self._outputs), again, strict=True)
        )

    def _depends(self) -> bool:
        """Outputs of the whole batch against those of each micro-batch."""
        cut = self._cut(self._outputs)
        if cut is None:
            return self.normalises
        with torch.no_grad(), seeded(tuple(SOURCES), self.seed):
            for (given, _), size, part in zip(self._micro_batches, self.sizes, cut, strict=True):
                alone = pytree.tree_leaves(self._forward(given)) if size else []
                for one, other in zip(alone, pytree.tree_leaves(part), strict=False):
                    if differentiable(one) and not torch.allclose(one, other, rtol=SAME, atol=SAME * float(other.abs().max())):
                        return True
        return False

    def _cut(self, outputs: Any) -> list[Any] | None:
        """The outputs of each micro-batch, where the first axis of every output runs over the samples, or over so many of each."""
        leaves, structure = pytree.tree_flatten(outputs)
        total = sum(self.sizes)
        if not all(isinstance(leaf, Tensor) and leaf.ndim and len(leaf) % total == 0 for leaf in leaves):
            return None
        ends = list(itertools.accumulate(self.sizes))
        return [
            pytree.tree_unflatten([leaf[(end - n) * (k := len(leaf) // total) : end * k] for leaf in leaves], structure)
            for end, n in zip(ends, self.sizes, strict=True)
        ]

    def _weights_by_outputs(self) -> tuple[float, ...] | None:
        cut = self._cut(self._outputs)
        everything = None if cut is None else self._cotangents(self._outputs, self._all[1])
        if cut is None or not everything:
            return None
        found, rest = list[float](), 0.0
        for part, right, (_, target), size in zip(cut, self._cut(everything) or [], self._micro_batches, self.sizes, strict=True):
            u = torch.cat([leaf.reshape(-1) for leaf in right])
            alone = self._cotangents(part, target) if size else []
            v = torch.cat([leaf.reshape(-1) for leaf in alone]) if alone else torch.zeros_like(u)
            # Where nothing counts, its mean is 0/0, or no number depends on it.
            weight = float(u @ v / (v @ v)) if size and torch.isfinite(v).all() and v.any() else 0.0
            found.append(weight)
            rest = max(rest, float((u - weight * torch.nan_to_num(v)).abs().max())) if size else rest
        self.separable = rest <= SAME * max(float(leaf.abs().max()) for leaf in everything)
        return tuple(found)

    def _cotangents(self, outputs: Any, target: Any) -> list[Tensor]:
        """∂ℓ/∂Y of all that can be differentiated in an output; empty where ℓ does not depend on it."""
        leaves, structure = pytree.tree_flatten(outputs)
        points = [leaf.detach().clone().requires_grad_() if differentiable(leaf) else leaf for leaf in leaves]
        free = [point for point in points if differentiable(point)]
        value = self._value(pytree.tree_unflatten(points, structure), target)
        if not free or not value.requires_grad:
            return []
        return list(torch.autograd.grad(value, free, allow_unused=True, materialize_grads=True))

    def _reset(self) -> None:
        for parameter in self._module.parameters():
            parameter.grad = None
        for name, buffer in self._buffers.items():
            path, _, own = name.rpartition(".")
            self._module.get_submodule(path)._buffers[own] = buffer.clone()

    def _parameters(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self._module.named_parameters() if name in self._values}

    def _collected(self) -> Gradients:
        found = {}
        for name, parameter in self._parameters().items():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradient = gradient.to_dense() if gradient.is_sparse else gradient
            found[name] = as_real(gradient).detach().clone()
        for parameter in self._module.parameters():
            parameter.grad = None
        return found


def _pair(number: int, given: Any) -> tuple[Any, Any]:
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise InputError(f"micro-batch {number} is {_kind(given)}; expected a pair, (input, target).")
    for part in given:
        if not any(isinstance(leaf, Tensor) and leaf.ndim for leaf in pytree.tree_leaves(part)):
            raise InputError(
                f"micro-batch {number} has {_kind(part)} in it; expected tensors with the samples along their first axis."
            )
    given_copy, target = pytree.tree_map(lambda leaf: copied_input(f"micro-batch {number}", leaf, torch.float64), tuple(given))
    return given_copy, target


def _kind(given: Any) -> str:
    return f"a {type(given).__name__}" + (f" of {len(given)}" if isinstance(given, tuple | list) else "")


def _samples(pair: tuple[Any, Any]) -> int:
    return next(len(leaf) for leaf in pytree.tree_leaves(pair[0]) if isinstance(leaf, Tensor) and leaf.ndim)


def _together(pairs: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """All micro-batches as one."""
    flat = [pytree.tree_flatten(pair) for pair in pairs]
    structure = flat[0][1]
    if any(other != structure for _, other in flat):
        raise InputError("the micro-batches are nested in different ways; expected all of them to have the same tensors.")
    joined = []
    for leaves in zip(*(leaves for leaves, _ in flat), strict=True):
        if not isinstance(leaves[0], Tensor) or not leaves[0].ndim:
            joined.append(leaves[0])
            continue
        try:
            joined.append(torch.cat(leaves))
        except RuntimeError as error:
            shapes = " and ".join(str(tuple(leaf.shape)) for leaf in leaves[:2])
            raise InputError(
                f"the micro-batches cannot be put together, having shapes such as {shapes}; expected tensors that differ in their "
                "first axis alone: pad sequences to one length, with targets that the loss ignores."
            ) from error
    if not sum(map(_samples, pairs)):
        raise InputError("every micro-batch is empty; expected at least one sample.")
    whole: tuple[Any, Any] = pytree.tree_unflatten(joined, structure)
    return whole


def _clone(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf
