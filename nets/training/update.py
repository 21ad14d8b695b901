"""An update on the CPU: the rule moves the parameters, and one row of a block records the step."""

import math
from collections.abc import Callable

from torch import Tensor

from nets.calculus.norms import norms_now, norms_of
from nets.records.step import ROWS, Block
from nets.training.optimizers.update_rule import Change, RuleState, UpdateRule
from nets.training.parameters import TrainedParameters, contiguous


class Update:
    """θ ← θ + Δθ for each call; ℓ, ‖G_p‖, ‖θ_p‖ and ‖Δθ_p‖ are recorded.

    Args:
        parameters: are moved in place.
        rule: gives Δθ.
        state: the state of the rule, updated in place.
        made: the number of updates made before, for a schedule of the learning rate.

    Attributes:
        block: holds the record of the last update.
        row: its row in the block.
    """

    def __init__(self, parameters: TrainedParameters, rule: UpdateRule, state: RuleState, made: int = 0) -> None:
        self.parameters, self.rule, self.state, self.made = parameters, rule, state, made
        self._scheduled = callable(rule.learning_rate)
        self._rate = rule.rate_at(made)
        self._observed = [state[name][0] for name in rule.recorded]
        self.block, self.row = self._new_block(), -1
        self._held: dict[str, Tensor] | None = None
        self._gradients: list[Tensor] = []
        self._contiguous = True
        self._norms: Callable[[], list[float]] | None = None
        self._sizes = norms_of(parameters.tensors)
        self._directions: list[Tensor] | None = None
        self._direction_norms: Callable[[], list[float]] | None = None

    def __call__(self, loss: Tensor, gradients: dict[str, Tensor]) -> int | None:
        """Make an update, unless ℓ or a gradient is not finite. Call this no more after an update that was not made.

        Args:
            loss: ℓ, a scalar tensor.
            gradients: G_p by the names of the parameters. The same dictionary means the same memory.

        Returns:
            None; or the number of updates since the first one whose ℓ or G was not finite, if that is known: 0 for this
            one.
        """
        if gradients is not self._held:
            self._hold(gradients)
        elif self._norms is None:
            self._norms = norms_of(self._gradients + self.parameters.tensors)
        if self.parameters.first.grad is None:
            self.parameters.set_gradients(self._gradients)
        self._next_row()
        if self._scheduled:
            self._begin()
            self.block.rates[self.row] = self._rate
        norms = self._norms() if self._norms is not None else norms_now(self._gradients) + self._sizes()
        values = [loss.item(), *norms]
        if not math.isfinite(sum(values[: self.block.decisive])):
            unknown = [math.nan] * (self.block.width - len(values))
            self.block.write(self.row, values + unknown, self._rate)
            return 0
        directions, scale = self._move(None)
        moved = values[1 : self.block.decisive] if directions is self._gradients else self._norms_of(directions)
        if self._observed:
            moved = moved + [number.item() for number in self._observed]
        self.block.write(self.row, values + moved, scale)
        return None

    def last_check(self) -> int | None:
        """The same result as of a call, after the last update: None, since on the CPU each call has returned it
        already."""
        return None

    def _begin(self) -> None:
        """Take the learning rate of this update from its schedule."""
        self._rate = self.rule.begin(self.made, self.parameters.tensors[0].device)
        self.made += 1

    def _move(self, skip: Tensor | None) -> Change:
        if not self.parameters.contiguous:
            return self.rule.apply(self.state, self.parameters.tensors, self._gradients, skip)
        gradients = self._gradients if self._contiguous else [gradient.contiguous() for gradient in self._gradients]
        return self.rule.apply_fused(self.state, self.parameters.tensors, gradients, skip)

    def _hold(self, gradients: dict[str, Tensor]) -> None:
        """Remember gradients that are in other memory than the previous ones; the next ones may be in this memory
        again."""
        self._held, self._gradients, self._norms = gradients, list(gradients.values()), None
        self._contiguous = contiguous(self._gradients)
        self.parameters.set_gradients(self._gradients)

    def _norms_of(self, directions: list[Tensor]) -> list[float]:
        """‖D_p‖, by a prepared call if the directions are in the same memory as the previous ones."""
        if directions is not self._directions:
            self._directions, self._direction_norms = directions, None
            return norms_now(directions)
        if self._direction_norms is None:
            self._direction_norms = norms_of(directions)
        return self._direction_norms()

    def _next_row(self) -> None:
        self.row += 1
        if self.row == ROWS:
            self.block, self.row = self._new_block(), 0

    def _new_block(self) -> Block:
        block = Block(self.parameters.names, self.parameters.tensors[0], self.rule.recorded)
        block.rates.fill(self._rate)
        return block
