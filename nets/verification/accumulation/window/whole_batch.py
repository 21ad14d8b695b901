"""The loss over all micro-batches of a window, which an accumulated gradient is checked against."""

import functools
from typing import Any

import torch
from torch import Tensor

from nets.errors import InputError
from nets.torch_internals import pytree
from nets.verification.accumulation.rounding.equality import RoundingNoise
from nets.verification.accumulation.window.concatenation import (
    concatenated,
    has_lists,
    joined_inputs,
    joined_outputs,
    split,
)
from nets.verification.accumulation.window.group_labels import relabelled
from nets.verification.accumulation.window.loss_draws import LossDraws
from nets.verification.accumulation.window.weights import (
    Gradients,
    Weights,
    flat,
    weighted_sum,
    weights_from_cotangents,
    weights_from_gradients,
)  # fmt: skip
from nets.verification.accumulation.window.window import Closure, Window, finite
from nets.verification.attempt import Unavailable, attempt
from nets.verification.problem.pytree import as_real, differentiable, largest


class WholeBatch:
    """The loss over all micro-batches of a window.

    Where the inputs can be concatenated, it is ℓ(f(X), T) with all inputs X and targets T. Where only the outputs and
    targets can, it is ℓ(Y, T) with Y_m = f(X_m).

    Attributes:
        window: the micro-batches.
        exists: whether there is such a loss.
        obstacle: why the inputs cannot be concatenated; '' where they can.
        samples_interact: whether the output of a sample depends on the other samples in its batch.
        relabelled: whether each micro-batch was given group labels of its own.
        loss_draws: the random numbers of the loss. Where the whole batch cannot draw what its micro-batches draw, its
            gradient is taken as Σ_m w_m ∂ℓ_m/∂θ.
    """

    def __init__(self, window: Window) -> None:
        self.window, self.loss_draws = window, LossDraws(window)
        self.samples_interact, self.relabelled = False, False
        self._inputs: Any = None
        self._outputs: Any = None
        self._pieces: list[Any] | None = None
        self._targets = concatenated([target for _, target in window.pairs])
        self.exists, self.obstacle = self._join()
        if self.loss_draws.any and self.exists:
            self.loss_draws.record(lambda: self._loss_of(self._outputs))
            self.exists = self.loss_draws.replayed or self._separable_with_equal_draws()
            self.obstacle = self.obstacle if self.exists else "the whole batch cannot draw what each of them draws"

    def gradient(self) -> Gradients:
        """∂ℓ/∂θ of all samples at once."""
        if self.loss_draws.replayed:
            return self.window.gradient(self._loss)
        return weighted_sum(self._weights_from_outputs().values or (), self.window.micro_batch_gradients())

    def weights(self, parts: list[Gradients], whole: Gradients) -> Weights:
        """w_m, from the cotangents where the outputs are laid out by samples, and otherwise from the gradients.

        Args:
            parts: G_m of each micro-batch.
            whole: ∂ℓ/∂θ of the whole batch.
        """
        if self._pieces is not None and self._cotangents():
            return self._weights_from_outputs()
        noise = RoundingNoise(lambda: [flat(self.gradient())], [flat(whole)], self.window.seed)
        return weights_from_gradients(
            whole, parts, self.window.sizes, lambda one, other: noise.explains([one], [other])
        )

    def with_zero_loss(self, loop: Closure) -> Gradients | None:
        """The gradients in `.grad` after the loop has run with the loss multiplied by zero; None if the loop then
        fails."""
        loss = self.window.loss
        try:
            with self.window.loss_replaced(lambda output, target: 0 * loss(output, target)):
                return self.window.run(loop)
        except InputError:
            return None

    # Joining the micro-batches.

    def _join(self) -> tuple[bool, str]:
        """Whether there is a loss over all micro-batches, and why their inputs cannot be concatenated."""
        candidates, obstacle = joined_inputs(self.window.pairs, self.window.single)
        loss_error: InputError | None = None
        if self._targets is None:
            candidates, obstacle = [], "their targets cannot be concatenated"
        for number, given in enumerate(candidates):
            outputs = attempt(functools.partial(self.window.forward, given))
            if isinstance(outputs, Unavailable):
                obstacle = f"called with all of them at once, the module raises {outputs.why}"
                continue
            self._inputs, self._outputs = given, outputs.value
            try:
                finite(self._loss_of(self._outputs))
            except InputError as error:
                loss_error, obstacle = error, "the loss cannot be called with all of them at once"
                continue
            self._pieces = self._split_outputs()
            obstacle = self._objection(number)
            if not obstacle:
                self.relabelled = self.samples_interact and not self.window.has_batch_norm and self._relabel(number)
                return True, ""
        return self._join_outputs(loss_error), obstacle

    def _relabel(self, candidate: int) -> bool:
        """Give each micro-batch group labels of its own. Kept if the outputs of all are then those of each micro-batch
        alone."""
        before = self._inputs, self._outputs, self._pieces
        pairs = None if self._pieces is None else relabelled(self.window)
        if pairs is not None:
            self._inputs = joined_inputs(pairs, self.window.single)[0][candidate]
            self._outputs = self.window.forward(self._inputs)
            self._pieces = self._split_outputs()
            if self._pieces is not None and not self._differ_from_alone(self._pieces):
                self.samples_interact = False
                return True
        self._inputs, self._outputs, self._pieces = before
        return False

    def _objection(self, candidate: int) -> str:
        """Why the concatenated inputs are not the whole batch; '' where nothing is known against it."""
        window, coupled = self.window, self.window.has_batch_norm
        if window.draws or len(window.pairs) == 1:
            return ""
        self.samples_interact = coupled if self._pieces is None else self._differ_from_alone(self._pieces)
        if self._pieces is not None and not self.samples_interact:
            return ""
        if not self.loss_draws.any and not self._independent_of_order(candidate):
            return "in another order they give another gradient"
        lists = window.single or any(has_lists(given) for given, _ in window.pairs)
        if self.samples_interact and lists and not coupled:
            return "their inputs contain lists, and each of them alone has other outputs"
        return ""

    def _join_outputs(self, loss_error: InputError | None) -> bool:
        """Whether the outputs of each micro-batch alone can be concatenated and given to the loss.

        Args:
            loss_error: what the loss raised for the concatenated inputs.
        """
        window = self.window
        self.samples_interact, self._inputs, self._pieces = False, None, None
        for m, output in enumerate(window.alone):
            if output is not None:
                try:
                    window.reset()
                    window.loss_of(output, window.pairs[m][1])
                except InputError as error:  # a loss that takes not even one micro-batch is the caller's mistake
                    raise loss_error or error from None
        self._outputs = None if self._targets is None else joined_outputs([y for y in window.alone if y is not None])
        if self._outputs is None:
            return False
        try:
            value = self._loss_of(self._outputs)
        except InputError:
            return False
        finite(value)
        self._pieces = list(window.alone)
        return True

    def _independent_of_order(self, candidate: int) -> bool:
        """Whether the micro-batches concatenated in reverse order give the same gradient."""
        before, reverse = (self._inputs, self._targets), self.window.pairs[::-1]

        def same_gradient() -> bool:
            here = flat(self.gradient())
            self._inputs = joined_inputs(reverse, self.window.single)[0][candidate]
            self._targets = concatenated([target for _, target in reverse])
            there = flat(self.gradient())
            return RoundingNoise(lambda: [flat(self.gradient())], [there], self.window.seed).explains([here], [there])

        same = attempt(same_gradient).or_none()  # None where the module fails with an input that is no batch
        self._inputs, self._targets = before
        return bool(same)

    def _split_outputs(self) -> list[Any] | None:
        sizes = self.window.sizes
        found = split(self._outputs, sizes)
        return None if found is None else [y if n else None for y, n in zip(found, sizes, strict=True)]

    def _differ_from_alone(self, pieces: list[Any]) -> bool:
        """Whether the outputs within the whole batch differ from those of each micro-batch alone."""
        for m, (alone, piece) in enumerate(zip(self.window.alone, pieces, strict=True)):
            one, other = _real_leaves(alone), _real_leaves(piece)
            if [leaf.shape for leaf in one] != [leaf.shape for leaf in other]:
                return True
            noise = RoundingNoise(functools.partial(self._output_alone, m), one, self.window.seed)
            if not noise.explains(one, other):
                return True
        return False

    def _output_alone(self, m: int) -> list[Tensor]:
        return _real_leaves(self.window.forward(self.window.pairs[m][0]))

    # The loss over all micro-batches.

    def _loss(self) -> Tensor:
        window = self.window
        if self._inputs is not None:
            outputs = window.forward_with_graph(self._inputs)
        else:
            given = [x for (x, _), size in zip(window.pairs, window.sizes, strict=True) if size]
            outputs = joined_outputs([window.forward_with_graph(x) for x in given])
        return finite(self._loss_of(outputs))

    def _loss_of(self, outputs: Any) -> Tensor:
        with self.loss_draws.of_all():
            return self.window.loss_of(outputs, self._targets)

    def _cotangents(self) -> list[Tensor]:
        """∂ℓ/∂Y of all outputs."""
        with self.loss_draws.of_all():
            return self.window.cotangents(self._outputs, self._targets)

    def _weights_from_outputs(self) -> Weights:
        whole, pieces = self._cotangents(), self._pieces or []
        sizes = [[len(leaf) for leaf in _real_leaves(y)] or [0] * len(whole) for y in pieces]
        by_leaf = [leaf.split([own[i] for own in sizes]) for i, leaf in enumerate(whole)]
        u = [_vector([leaf[m] for leaf in by_leaf]) for m in range(len(pieces))]
        v = []
        for right, piece, (_, target) in zip(u, pieces, self.window.pairs, strict=True):
            with self.loss_draws.of_each():
                alone = [] if piece is None else self.window.cotangents(piece, target)
            v.append(_vector(alone) if alone else torch.zeros_like(right))
        noise = RoundingNoise(self._cotangents, whole, self.window.seed)
        scale = max(map(largest, whole))
        return weights_from_cotangents(u, v, lambda one, other: noise.explains([one], [other], scale))

    def _separable_with_equal_draws(self) -> bool:
        """Whether the outputs give the weights where each call of the loss draws the same numbers."""
        return self._pieces is not None and self._weights_from_outputs().separable


def _real_leaves(outputs: Any) -> list[Tensor]:
    return [as_real(leaf) for leaf in pytree.tree_leaves(outputs) if differentiable(leaf)]


def _vector(leaves: list[Tensor]) -> Tensor:
    return torch.cat([leaf.reshape(-1) for leaf in leaves])
