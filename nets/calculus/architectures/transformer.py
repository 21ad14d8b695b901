"""Self-attention with its projections, and the block of a transformer.

Index letters are those of `nets.calculus.layers.attention`. Sources: Vaswani et al., arXiv:1706.03762, section 3; norm
first: Xiong et al., arXiv:2002.04745.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from nets import validation
from nets.calculus.architectures.combinators import Residual
from nets.calculus.composite import Composite, Visit
from nets.calculus.layer import Layer
from nets.calculus.layers.attention import Attention
from nets.calculus.layers.linear import Linear
from nets.calculus.network import Network
from nets.calculus.repetition import repeating
from nets.errors import InputError


class SelfAttention(Composite):
    """Y = O(A(Q(X), K(X), V(X))): three Linear layers, `Attention` A, and a Linear layer that mixes its heads.

    Shapes: X and Y (N, T, J). Parameters are 'query.weight', 'key.weight', 'value.weight', 'output.weight' and the
    biases of the same names.

    Args:
        width: J.
        attention: A. Its heads have the width J / H, and its groups G · J / H numbers of K and of V.
        bias: whether the four Linear layers have biases.
        generator: of the initial weights; one with the seed 0 if not given.

    Raises:
        InputError: if the number of heads does not divide J.
    """

    def __init__(
        self, width: int, attention: Attention, bias: bool = True, *, generator: torch.Generator | None = None
    ) -> None:
        validation.whole("width", width, 1, remedy="give the number of features")
        if width % attention.heads:
            raise InputError(
                f"width is {width} and there are {attention.heads} heads; expected a multiple of the number of heads: "
                "each head has an equal share of the width."
            )
        if attention.rotary is not None and width // attention.heads % 2:
            raise InputError(
                f"width is {width} and there are {attention.heads} heads with a rotary embedding; expected heads of an "
                "even width: the embedding turns pairs of entries."
            )
        generator = validation.generator(generator)
        shared = width // attention.heads * attention.groups
        layers: dict[str, Layer] = {
            name: Linear(width, outputs, bias, generator=generator)
            for name, outputs in (("query", width), ("key", shared), ("value", shared))
        }
        output = Linear(width, width, bias, generator=generator)
        super().__init__({**layers, "attention": attention, "output": output})

    def forward(self, x: Tensor) -> Tensor:
        """Y = O(A(Q(X), K(X), V(X)))."""
        *_, attended = self._values(x)
        return cast("Tensor", self.parts["output"](attended))

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v → O → A, whose cotangent is divided among Q, K and V; X has the sum of what they pull back."""
        *_, query, key, value = self.visits(v, x, y)
        pulled = [visit.layer.pullback(*visit[2:]) for visit in (query, key, value)]
        return pulled[0] + pulled[1] + pulled[2]

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t → Q, K and V → A → O."""
        attention, output = self.parts["attention"], self.parts["output"]
        projections, joined, attended = self._values_again(x, y)
        pushed = [self.parts[name].pushforward(t, x, z) for name, z in zip(PROJECTIONS, projections, strict=True)]
        return output.pushforward(attention.pushforward(torch.cat(pushed, -1), joined, attended), attended, y)

    def visits(self, v: Tensor, x: Tensor, y: Tensor) -> Iterator[Visit]:
        """O, A, then Q, K and V."""
        attention, output = self.parts["attention"], self.parts["output"]
        projections, joined, attended = self._values_again(x, y)
        yield Visit("output", output, v, attended, y)
        v = output.pullback(v, attended, y)
        yield Visit("attention", attention, v, joined, attended)
        shares = attention.pullback(v, joined, attended).split([z.shape[-1] for z in projections], -1)
        for name, share, z in zip(PROJECTIONS, shares, projections, strict=True):
            yield Visit(name, self.parts[name], share, x, z)

    def _values(self, x: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Q, K and V; the three joined; the output of A."""
        projections = [self.parts[name](x) for name in PROJECTIONS]
        joined = torch.cat(projections, -1)
        return projections, joined, self.parts["attention"](joined)

    def _values_again(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Those of the forward pass that made Y."""
        with repeating(self, y):
            return self._values(x)


PROJECTIONS = ("query", "key", "value")


class Block(Composite):
    """Attention A and a perceptron M, each with a norm and around a shortcut. A subclass defines `stages`.

    Parameters have the names 'attention.…', 'mlp.…', 'norm_1.…' and 'norm_2.…'.

    Args:
        attention: A, a layer that keeps the shape.
        mlp: M, likewise.
        norm_1: N_1, the norm of A.
        norm_2: N_2, the norm of M.
    """

    def __init__(self, attention: Layer, mlp: Layer, norm_1: Layer, norm_2: Layer) -> None:
        super().__init__({"norm_1": norm_1, "attention": attention, "norm_2": norm_2, "mlp": mlp})

    @abstractmethod
    def stages(self) -> Network:
        """The block as a sequence of sequences of its parts, which have their own names."""

    def forward(self, x: Tensor) -> Tensor:
        """X → Y, stage by stage."""
        return self.stages()(x)

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """v through the stages, from the last to the first."""
        stages, values = self._traced_again(x, y)
        return stages.pullback_along(v, values)

    def pushforward(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """t through the stages, from the first to the last."""
        stages, values = self._traced_again(x, y)
        return stages.pushforward_along(t, values)

    def visits(self, v: Tensor, x: Tensor, y: Tensor) -> Iterator[Visit]:
        """The parts of each stage, the last first."""
        stages, values = self._traced_again(x, y)
        for stage in stages.visits_along(v, values):
            yield from cast("Network", stage.layer).visits(*stage[2:])

    def _traced_again(self, x: Tensor, y: Tensor) -> tuple[Network, list[Tensor]]:
        """The stages with the values of the forward pass that made Y."""
        stages = self.stages()
        with repeating(self, y):
            return stages, stages.trace(x)

    def _named(self, *names: str) -> dict[str, Layer]:
        return {name: self.parts[name] for name in names}


class PreNormBlock(Block):
    """H = X + A(N_1(X)), Y = H + M(N_2(H)). Arguments are those of `Block`."""

    def stages(self) -> Network:
        """X + A(N_1(X)), then H + M(N_2(H))."""
        first, second = (Residual.around(self._named(*names)) for names in (("norm_1", "attention"), ("norm_2", "mlp")))
        return Network.around({"0": first, "1": second})


class PostNormBlock(Block):
    """H = N_1(X + A(X)), Y = N_2(H + M(H)). Arguments are those of `Block`."""

    def stages(self) -> Network:
        """X + A(X), N_1, H + M(H), N_2."""
        attention, mlp = (Residual.around(self._named(name)) for name in ("attention", "mlp"))
        norm_1, norm_2 = (Network.around(self._named(name)) for name in ("norm_1", "norm_2"))
        return Network.around({"0": attention, "1": norm_1, "2": mlp, "3": norm_2})
