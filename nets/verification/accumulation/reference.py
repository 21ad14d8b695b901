"""What an accumulated gradient is held against: the whole batch, or a loss over the outputs of each micro-batch alone."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nets.errors import InputError
from nets.text import one_line
from nets.verification.accumulation.draws import Drawn, Keyed, NoReplay, Recorded, Replayed, drawing
from nets.verification.accumulation.joining import candidates, concatenated, cut, end_to_end, has_lists
from nets.verification.accumulation.labels import told_apart
from nets.verification.accumulation.sameness import Noise
from nets.verification.accumulation.weighing import Weights, by_cotangents, by_gradients, flat, weighted
from nets.verification.accumulation.window import Closure, Gradients, Window, finite
from nets.verification.problem.pytree import as_real, differentiable, largest


class Reference:
    """The loss over all micro-batches of a window.

    Where they may be put together, it is ℓ(f(X), T) with all inputs X and targets T end to end. Where they may not, but the outputs
    and targets may, it is ℓ(Y, T) with Y_m = f(X_m).

    Attributes:
        window: the micro-batches.
        apart: why the inputs may not be put together; empty where they may.
        known: whether there is such a loss.
        depends: whether the output of a sample depends on the others in its batch.
        relabelled: whether whole numbers that name groups of samples were made different in each micro-batch.
        loss_draws: whether the loss draws random numbers.
        replayed: whether the whole batch can draw what its micro-batches draw; if not, the reference is Σ_m w_m ∂ℓ_m/∂θ.
    """

    def __init__(self, window: Window) -> None:
        self.window, self._raw = window, window.loss
        self.depends, self.relabelled, self.replayed, self._recorded = False, False, True, list[Drawn]()
        self._all: Any = None
        self._outputs: Any = None
        self._cut: list[Any] | None = None
        self._targets = concatenated([target for _, target in window.pairs])
        self.loss_draws = self._loss_draws()
        if self.loss_draws:
            window.loss = Keyed(self._raw, window.seed, window.reached.generators)
        self.known, self.apart = self._join()
        if self.loss_draws and self.known:
            self.replayed = self._record()
            self.known = self.replayed or self._same_draws_tell()
            self.apart = self.apart if self.known else "the whole batch cannot draw what each of them draws"

    def whole(self) -> Gradients:
        """∂ℓ/∂θ of all samples at once."""
        if self.replayed:
            return self.window.gradient(self._value)
        return weighted(self._by_outputs().values or (), self.window.parts())

    def weights(self, parts: list[Gradients], whole: Gradients) -> Weights:
        """w_m: those with which the ∂ℓ_m/∂Y are the parts of ∂ℓ/∂Y, or, where Y is not laid out by samples, the ∂ℓ_m/∂θ those of
        ∂ℓ/∂θ."""
        if self._cut is not None and self._upstream():
            return self._by_outputs()
        noise = Noise(lambda: [flat(self.whole())], [flat(whole)], self.window.seed)
        return by_gradients(whole, parts, self.window.sizes, lambda one, other: noise.explains([one], [other]))

    def without_the_loss(self, loop: Closure) -> Gradients | None:
        """What a loop leaves in `.grad` where the loss is zero whatever the output; None where it does not run with such a loss."""
        loss = self.window.loss
        try:
            with self._loss_as(lambda output, target: 0 * loss(output, target)):
                return self.window.run(loop)
        except InputError:
            return None

    # Putting together.

    def _join(self) -> tuple[bool, str]:
        """Whether there is a loss over all, and why it is not that of all inputs put together."""
        ways, apart = candidates(self.window.pairs, self.window.one)
        refusal: InputError | None = None
        if self._targets is None:
            ways, apart = [], "their targets cannot be put together"
        for number, given in enumerate(ways):
            try:
                self._all, self._outputs = given, self.window.forward(given)
                finite(self._loss_of(self._outputs))
            except InputError as error:
                refusal, apart = error, "the loss does not take all of them together"
                continue
            except Exception as error:  # whatever a module of the caller's raises
                apart = f"called with all of them the module raises {type(error).__name__}, {one_line(error)}"
                continue
            self._cut = self._by_samples()
            apart = self._against(number)
            if not apart:
                self.relabelled = self.depends and not self.window.normalises and self._relabel(number)
                return True, ""
        return self._own(refusal), apart

    def _relabel(self, way: int) -> bool:
        """Give the groups of each micro-batch names of their own, if then the outputs of all are those of each alone."""
        before = self._all, self._outputs, self._cut
        renamed = None if self._cut is None else told_apart(self.window)
        if renamed is not None:
            self._all = candidates(renamed, self.window.one)[0][way]
            self._outputs = self.window.forward(self._all)
            self._cut = self._by_samples()
            if self._cut is not None and not self._differs(self._cut):
                self.depends = False
                return True
        self._all, self._outputs, self._cut = before
        return False

    def _against(self, way: int) -> str:
        """What speaks against the inputs put together in this way."""
        window, coupled = self.window, self.window.normalises
        if window.draws or len(window.pairs) == 1:
            return ""
        self.depends = coupled if self._cut is None else self._differs(self._cut)
        if self._cut is not None and not self.depends:
            return ""
        if not self.loss_draws and not self._whatever_order(way):
            return "in another order they give another gradient"
        lists = window.one or any(has_lists(given) for given, _ in window.pairs)
        if self.depends and lists and not coupled:
            return "their inputs hold lists, and the outputs of each alone are others"
        return ""

    def _own(self, refusal: InputError | None) -> bool:
        """Whether the outputs of each micro-batch alone can be put together and given to the loss."""
        window = self.window
        self.depends, self._all, self._cut = False, None, None
        for m, output in enumerate(window.alone):
            if output is not None:
                try:
                    window.reset()
                    window.value(output, window.pairs[m][1])
                except InputError as error:  # that it takes not even one is the caller's mistake
                    raise refusal or error from None
        self._outputs = None if self._targets is None else end_to_end([y for y in window.alone if y is not None])
        if self._outputs is None:
            return False
        try:
            value = self._loss_of(self._outputs)
        except InputError:
            return False
        finite(value)
        self._cut = list(window.alone)
        return True

    def _whatever_order(self, way: int) -> bool:
        """Whether the micro-batches put together the other way about give the same gradient."""
        before, turned = (self._all, self._targets), self.window.pairs[::-1]
        try:
            here = flat(self.whole())
            self._all, self._targets = candidates(turned, self.window.one)[0][way], concatenated([t for _, t in turned])
            there = flat(self.whole())
            return Noise(lambda: [flat(self.whole())], [there], self.window.seed).explains([here], [there])
        except Exception:  # whatever a module of the caller's raises for what is no batch
            return False
        finally:
            self._all, self._targets = before

    def _by_samples(self) -> list[Any] | None:
        found = cut(self._outputs, self.window.sizes)
        return None if found is None else [y if n else None for y, n in zip(found, self.window.sizes, strict=True)]

    def _differs(self, pieces: list[Any]) -> bool:
        """Whether the outputs of the whole batch are others than those of each micro-batch alone."""
        for m, (alone, piece) in enumerate(zip(self.window.alone, pieces, strict=True)):
            one, other = _leaves(alone), _leaves(piece)
            if [leaf.shape for leaf in one] != [leaf.shape for leaf in other]:
                return True
            noise = Noise(functools.partial(self._alone, m), one, self.window.seed)
            if not noise.explains(one, other):
                return True
        return False

    def _alone(self, m: int) -> list[Tensor]:
        return _leaves(self.window.forward(self.window.pairs[m][0]))

    # The loss of all.

    def _value(self) -> Tensor:
        window = self.window
        if self._all is not None:
            outputs = window.called(self._all)
        else:
            outputs = end_to_end([window.called(given) for (given, _), n in zip(window.pairs, window.sizes, strict=True) if n])
        return finite(self._loss_of(outputs))

    def _loss_of(self, outputs: Any) -> Tensor:
        with self._draws_of_all():
            return self.window.value(outputs, self._targets)

    def _upstream(self) -> list[Tensor]:
        """∂ℓ/∂Y of all outputs."""
        with self._draws_of_all():
            return self.window.cotangents(self._outputs, self._targets)

    def _by_outputs(self) -> Weights:
        everything, cut_outputs = self._upstream(), self._cut or []
        sizes = [[len(leaf) for leaf in _leaves(y)] or [0] * len(everything) for y in cut_outputs]
        split = [leaf.split([own[i] for own in sizes]) for i, leaf in enumerate(everything)]
        u = [_vector([leaf[m] for leaf in split]) for m in range(len(cut_outputs))]
        v = []
        for right, piece, (_, target) in zip(u, cut_outputs, self.window.pairs, strict=True):
            with self._draws_of_each():
                alone = [] if piece is None else self.window.cotangents(piece, target)
            v.append(_vector(alone) if alone else torch.zeros_like(right))
        noise = Noise(self._upstream, everything, self.window.seed)
        scale = max(map(largest, everything))
        return by_cotangents(u, v, lambda one, other: noise.explains([one], [other], scale))

    # Random numbers.

    def _loss_draws(self) -> bool:
        """Whether other random numbers give another loss."""
        window, found = self.window, list[list[Tensor]]()
        generators = window.reached.generators
        try:
            for seed in (window.seed, window.seed + 1):
                with self._loss_as(Keyed(self._raw, seed, generators)):
                    pairs = [(y, target) for y, (_, target) in zip(window.alone, window.pairs, strict=True) if y is not None]
                    found.append([leaf for y, target in pairs for leaf in window.cotangents(y, target)])
        except InputError:  # told later, of the loss of all
            return False
        return any(not torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) for a, b in zip(*found, strict=True))

    def _record(self) -> bool:
        """Keep what each micro-batch draws. Returns whether that can be what the whole batch draws."""
        for output, (_, target) in zip(self.window.alone, self.window.pairs, strict=True):
            if output is not None:
                self.window.reset()
                with Recorded() as recorded:
                    self.window.value(output, target)
                self._recorded.append(recorded.drawn)
        found = []
        for key in (self.window.seed, self.window.seed + 1):
            self.window.reset()
            try:
                with drawing(key, self.window.reached.generators):
                    found.append(float(self._loss_of(self._outputs).detach()))
            except NoReplay:
                return False
        # What is not drawn by an operation of PyTorch is neither recorded nor replayed.
        return found[0] == found[1]

    def _same_draws_tell(self) -> bool:
        """Whether the outputs tell the weights where each call of the loss draws the same numbers."""
        return self._cut is not None and self._by_outputs().separable

    @contextmanager
    def _draws_of_all(self) -> Iterator[None]:
        if self.loss_draws and self.replayed and self._recorded:
            with self._loss_as(self._raw), Replayed(self._recorded):
                yield
        else:
            with self._draws_of_each():
                yield

    @contextmanager
    def _draws_of_each(self) -> Iterator[None]:
        """The same numbers for the whole and for each micro-batch, where these cannot be put together."""
        if self.replayed:
            yield
        else:
            with self._loss_as(self._alike):
                yield

    def _alike(self, output: Any, target: Any) -> Any:
        with drawing(self.window.seed, self.window.reached.generators):
            return self._raw(output, target)

    @contextmanager
    def _loss_as(self, loss: Callable[..., Any]) -> Iterator[None]:
        before, self.window.loss = self.window.loss, loss
        try:
            yield
        finally:
            self.window.loss = before


def _leaves(outputs: Any) -> list[Tensor]:
    return [as_real(leaf) for leaf in pytree.tree_leaves(outputs) if differentiable(leaf)]


def _vector(leaves: list[Tensor]) -> Tensor:
    return torch.cat([leaf.reshape(-1) for leaf in leaves])
