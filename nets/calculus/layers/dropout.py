"""Dropout, whose mask comes from a stream of the layer's own.

Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout: a simple way to prevent neural networks from
overfitting", JMLR 15 (2014).
"""

import numpy as np
import torch
from torch import Tensor, nn

from nets import validation
from nets.calculus.layer import Layer
from nets.calculus.layers.conversion import register, sharing
from nets.errors import InputError


class Dropout(Layer):
    """Y_ni = M_ni X_ni / (1 − p) in training, with M_ni = 0 with the probability p, else 1; Y = X in evaluation mode.

    Mask number t is a function of the seed and t alone (Philox: Salmon, Moraes, Dror, Shaw, SC 2011). Both are buffers,
    and each forward pass in training adds 1 to t; after `hold`, t stays. The global random state is neither read nor
    changed.

    The output itself shows the mask: a number that is left out is −0.0, and no other number is. So the pullback uses
    the mask of the forward pass that made Y, whatever has been drawn since, and also for some samples of a batch.

    Shapes: X (N, *S), Y the same.

    Args:
        p: the probability of being left out, from 0 to 1.
        generator: of the seed, on the CPU; one with the seed 0 if not given. Layers that share a generator have
            different masks.

    Raises:
        InputError: for an argument out of range.
    """

    elementwise = True
    recordable = False
    seed: Tensor
    drawn: Tensor

    def __init__(self, p: float = 0.5, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.p = validation.number("p", p, least=0, most=1, remedy="it is the probability of being left out")
        self._held = False
        # Not in the state dict, so that state dicts load into and from torch.nn.Dropout, which has none.
        for name in ("seed", "drawn"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64, device="cpu"), persistent=False)
        self.reseed(validation.generator(generator))

    def forward(self, x: Tensor) -> Tensor:
        """Y_ni = M_ni X_ni / (1 − p) with the next mask, or Y = X in evaluation mode."""
        if not self.training:
            return x.clone()
        kept = self.mask(x.shape, int(self.drawn)).to(x.device)
        if not self._held:
            self._next()
        # 0.0 + −0.0 is 0.0, so no number that is kept is −0.0.
        return torch.where(kept, x * self._scale + 0.0, -0.0)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v_ni → M_ni v_ni / (1 − p), or v_ni in evaluation mode."""
        if not self.training:
            return v
        return v * ((y != 0) | ~torch.signbit(y)) * self._scale

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t_ni → M_ni t_ni / (1 − p), or t_ni in evaluation mode: the Jacobian is diagonal."""
        return self.pullback(t, x, y)

    def hold(self) -> None:
        """Let every later forward pass use the next mask and no other."""
        self._held = True

    def moving(self) -> tuple[str, ...]:
        """The number of the next mask, in training."""
        return ("drawn",) if self.draws else ()

    def reseed(self, generator: torch.Generator) -> None:
        """Draw another seed; the next mask is number 0 of it."""
        self.seed.random_(0, 2**62, generator=generator)
        self.drawn.zero_()

    @property
    def draws(self) -> bool:
        """Whether there is a mask, and another one for the next forward pass."""
        return self.training and not self._held

    def _next(self) -> None:
        try:
            self.drawn.add_(1)
        except RuntimeError as error:  # of a function transform, in which no buffer may change
            raise InputError(
                "a Dropout in training mode draws one mask for a whole batch, which torch.func does not allow; "
                "expected engine='closed_form' for sample norms, hold(), or evaluation mode."
            ) from error

    def mask(self, shape: tuple[int, ...], number: int) -> Tensor:
        """M_ni of this number, counted from 0; True where a number is kept."""
        stream = np.random.Generator(np.random.Philox(key=int(self.seed), counter=[0, 0, 0, number]))
        return torch.from_numpy(stream.random(shape) >= self.p)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"

    @property
    def _scale(self) -> float:
        return 1 / (1 - self.p) if self.p < 1 else 0.0


register(nn.Dropout, lambda module: sharing(Dropout(module.p), module))
