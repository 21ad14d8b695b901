"""LayerNorm, RMSNorm and GroupNorm."""

from torch import Tensor, nn

from nets.calculus.layers.normalization import GroupNorm, LayerNorm, RMSNorm
from tests.layer_case import BEFORE, of_torch, positions


class WithoutTheMean(LayerNorm):
    def _projected(self, u: Tensor, x: Tensor) -> Tensor:
        h, r = self.normal(x)
        return r * (u - h * (u * h).mean(-1, keepdim=True))


class WithoutTheVariance(LayerNorm):
    def _projected(self, u: Tensor, x: Tensor) -> Tensor:
        return self.normal(x)[1] * (u - u.mean(-1, keepdim=True))


class BiasOverTheWrongAxis(LayerNorm):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {**super().gradients(v, x, y), "bias": v.sum(-1).mean() * v.new_ones(v.shape[-1])}


class OutputForNormal(LayerNorm):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {**super().gradients(v, x, y), "weight": (v * y).sum(0)}


class WithTheMean(RMSNorm):
    def _projected(self, u: Tensor, x: Tensor) -> Tensor:
        found = super()._projected(u, x)
        return found - found.mean(-1, keepdim=True)


class OverAllChannels(GroupNorm):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        self.num_groups, groups = 1, self.num_groups
        pulled = super().pullback(v, x, y)
        self.num_groups = groups
        return pulled


CASES = {
    "layer norm of torch": of_torch(
        lambda: nn.LayerNorm(4),
        {
            "pullback without the mean": (WithoutTheMean, BEFORE),
            "pullback without the variance": (WithoutTheVariance, BEFORE),
            "bias over the wrong axis": (BiasOverTheWrongAxis, {"1.bias"}),
            "the output for the normal": (OutputForNormal, {"1.weight"}),
        },
    ),
    "layer norm of tokens": of_torch(
        lambda: nn.LayerNorm(4, bias=False),
        {"pullback without the mean": (WithoutTheMean, BEFORE)},
        shape=(2, 3),
    ),
    "RMS norm": of_torch(lambda: nn.RMSNorm(4), {"pullback with the mean": (WithTheMean, BEFORE)}),
    "group norm": of_torch(
        lambda: nn.GroupNorm(2, 4),
        {"statistics of all channels": (OverAllChannels, BEFORE)},
        positions(2, 3, 3),
        (4, 2),
    ),
}

SETTINGS = {
    "layer norm without parameters": (lambda: nn.LayerNorm(4, elementwise_affine=False), (3, 2, 4)),
    "layer norm over two axes": (lambda: nn.LayerNorm((2, 4), eps=0.1), (3, 5, 2, 4)),
    "RMS norm over two axes": (lambda: nn.RMSNorm((2, 4), eps=0.1), (3, 5, 2, 4)),
    "RMS norm without parameters": (lambda: nn.RMSNorm(4, elementwise_affine=False), (3, 4)),
    "group norm of vectors": (lambda: nn.GroupNorm(2, 6, affine=False), (3, 6)),
    "group norm of images": (lambda: nn.GroupNorm(3, 6, eps=0.1), (3, 6, 2, 3)),
}
