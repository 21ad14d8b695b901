"""Learning rates that change: each schedule is a function lr(step) of the number of updates made before.

```python
rate = nets.training.schedules.WarmupCosine(1e-3, steps=1_000, warmup=100)
nets.descend(network, data, loss=loss, learning_rate=rate, steps=1_000)
```

Any function of a whole number is a schedule. The schedules here check their arguments and have a repr. η below is
`learning_rate`, the largest value, and t the step, 0 for the first update. A resumed descent continues with its own t.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from nets.errors import InputError
from nets.settings import enter
from nets.validation import number, whole

SCHEDULES: dict[str, type["Schedule"]] = {}
"""Each schedule under its name, as the setting `schedule` of a run takes it."""


class Schedule(ABC):
    """η_t for every t from 0 up.

    Attributes:
        learning_rate: η, above 0.
    """

    learning_rate: float

    def __init_subclass__(cls, *, known_as: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        enter(SCHEDULES, known_as, cls)

    @abstractmethod
    def __call__(self, step: int) -> float:
        """η_t at t = step."""


@dataclass(frozen=True)
class Constant(Schedule, known_as="constant"):
    """η_t = η."""

    learning_rate: float

    def __post_init__(self) -> None:
        number("learning_rate", self.learning_rate, above=0)

    def __call__(self, step: int) -> float:
        return self.learning_rate


@dataclass(frozen=True)
class WarmupCosine(Schedule, known_as="warmup_cosine"):
    """η_t = η (t + 1)/w for t < w, and η_min + (η − η_min) (1 + cos π p)/2 from w on, with p = (t − w)/(T − w).

    From T on, η_t = η_min. No update has the rate 0 unless η_min is 0.

    Sources: Loshchilov, Hutter, "SGDR: stochastic gradient descent with warm restarts", arXiv:1608.03983, eq. 5; Goyal
    et al., "Accurate, large minibatch SGD", arXiv:1706.02677, section 2.2, for the warm-up.

    Args:
        learning_rate: η, above 0.
        steps: T, the updates of the whole descent.
        warmup: w, the updates of the warm-up, fewer than T.
        least: η_min, from 0 to η.

    Raises:
        InputError: for a number out of range.
    """

    learning_rate: float
    steps: int
    warmup: int = 0
    least: float = 0.0

    def __post_init__(self) -> None:
        number("learning_rate", self.learning_rate, above=0)
        number("least", self.least, least=0, most=self.learning_rate)
        whole("warmup", self.warmup, 0)
        if self.warmup >= whole("steps", self.steps, 1):
            raise InputError(
                f"warmup is {self.warmup} and steps is {self.steps}; expected a warm-up of fewer updates than the "
                "descent has: shorten it, or make more steps."
            )

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        part = min(1.0, (step - self.warmup) / (self.steps - self.warmup))
        return _half_cosine(self.learning_rate, self.least, part)


@dataclass(frozen=True)
class StepDecay(Schedule, known_as="step"):
    """η_t = η γ^⌊t/d⌋, as `torch.optim.lr_scheduler.StepLR`.

    Args:
        learning_rate: η, above 0.
        every: d, the updates between two changes.
        factor: γ, above 0 and at most 1.

    Raises:
        InputError: for a number out of range.
    """

    learning_rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        number("learning_rate", self.learning_rate, above=0)
        whole("every", self.every, 1)
        number("factor", self.factor, above=0, most=1)

    def __call__(self, step: int) -> float:
        return self.learning_rate * self.factor ** (step // self.every)


@dataclass(frozen=True)
class OneCycle(Schedule, known_as="one_cycle"):
    """η_t rises from η/a to η and falls to η/(a b), along half a cosine each, as `torch.optim.lr_scheduler.OneCycleLR`.

    The rise ends at t = r T − 1, the fall at t = T − 1, and η_t stays there.

    Source: Smith, Topin, "Super-convergence: very fast training of neural networks using large learning rates",
    arXiv:1708.07120. The two halves of a cosine, in place of its straight lines, are PyTorch's default.

    Args:
        learning_rate: η, above 0, the peak.
        steps: T, the updates of the whole descent, at least 2.
        rise: r, the share of T in which the rate rises, above 0 and below 1. r T is above 1.
        start: a, from 1 up.
        end: b, from 1 up.

    Raises:
        InputError: for a number out of range.
    """

    learning_rate: float
    steps: int
    rise: float = 0.3
    start: float = 25.0
    end: float = 1e4

    def __post_init__(self) -> None:
        number("learning_rate", self.learning_rate, above=0)
        whole("steps", self.steps, 2)
        number("rise", self.rise, above=0, below=1)
        number("start", self.start, least=1)
        number("end", self.end, least=1)
        if self.rise * self.steps <= 1:
            raise InputError(
                f"rise is {self.rise:g} and steps is {self.steps}; expected a rise of more than one update: make rise "
                f"larger than {1 / self.steps:.3g}, or make more steps."
            )

    def __call__(self, step: int) -> float:
        low, peak = self.learning_rate / self.start, self.learning_rate
        first, last = self.rise * self.steps - 1, self.steps - 1
        if step <= first:
            return _half_cosine(low, peak, step / first)
        return _half_cosine(peak, low / self.end, min(1.0, (step - first) / (last - first)))


def _half_cosine(start: float, end: float, part: float) -> float:
    """Half a cosine from `start` at part = 0 to `end` at part = 1."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * part))
