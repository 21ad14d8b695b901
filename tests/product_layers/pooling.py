"""MaxPool, AvgPool and AdaptiveAvgPool."""

from torch import Tensor, nn

from nets.calculus.layers.averaging import AdaptiveAvgPool2d, AvgPool1d
from nets.calculus.layers.pooling import MaxPool2d
from tests.layer_case import BEFORE, of_torch, positions


class ToEveryPosition(MaxPool2d):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        pulled = v.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return pulled.reshape(*v.shape[: v.ndim - y.ndim], *x.shape)


class Undivided(AvgPool1d):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return 2 * super().pullback(v, x, y)


class OfEqualWindows(AdaptiveAvgPool2d):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return (super().pullback(v, x, y) * 0 + v.sum((-2, -1), keepdim=True)) / (x.shape[-1] * x.shape[-2])


CASES = {
    "max pool of images": of_torch(
        lambda: nn.MaxPool2d(2), {"to every position": (ToEveryPosition, BEFORE)}, positions(3, 4, 2), (2, 2, 3)
    ),
    "average pool of positions": of_torch(
        lambda: nn.AvgPool1d(2), {"not divided": (Undivided, BEFORE)}, positions(3, 4, 2), (2, 3)
    ),
    "adaptive average of images": of_torch(
        lambda: nn.AdaptiveAvgPool2d((1, 3)), {"equal windows": (OfEqualWindows, BEFORE)}, positions(3, 4, 3), (2, 2, 3)
    ),
}

SETTINGS = {
    "max pool of positions": (lambda: nn.MaxPool1d(3, stride=2, padding=1, dilation=2), (2, 3, 8)),
    "max pool with one more window": (lambda: nn.MaxPool2d((2, 3), 2, ceil_mode=True), (2, 2, 5, 6)),
    "max pool of one channel": (lambda: nn.MaxPool2d(2, stride=1, padding=1), (2, 1, 3, 3)),
    "average pool with padding": (lambda: nn.AvgPool2d(3, 2, padding=1), (2, 2, 5, 6)),
    "average pool of the input alone": (lambda: nn.AvgPool2d((3, 2), 2, (1, 0), count_include_pad=False), (2, 2, 5, 6)),
    "average pool with one more window": (lambda: nn.AvgPool2d(3, 2, padding=1, ceil_mode=True), (2, 2, 6, 4)),
    "average pool of positions, everything": (lambda: nn.AvgPool1d(3, 2, 1, True, False), (2, 2, 6)),
    "adaptive average of positions": (lambda: nn.AdaptiveAvgPool1d(3), (2, 2, 7)),
    "adaptive average of one axis": (lambda: nn.AdaptiveAvgPool2d((None, 4)), (2, 2, 3, 6)),
    "adaptive average of more windows": (lambda: nn.AdaptiveAvgPool2d(4), (2, 2, 3, 2)),
}
