"""Conv1d and Conv2d."""

from torch import Tensor, nn

from nets.calculus.layers.convolution import Conv1d, Conv2d
from tests.layer_case import BEFORE, of_torch, positions


class FlippedKernel(Conv1d):
    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return Conv1d.pullback(self.at({"weight": self.weight.flip(-1)}), v, x, y)


class FlippedGradient(Conv2d):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        found = super().gradients(v, x, y)
        return {**found, "weight": found["weight"].flip(-1)}


class BiasOverPositionsOfOneSample(Conv2d):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {**super().gradients(v, x, y), "bias": v.mean((0, 2, 3))}


CASES = {
    "convolution over positions": of_torch(
        lambda: nn.Conv1d(2, 3, 2),
        {"pullback with the kernel flipped": (FlippedKernel, BEFORE)},
        positions(4, 4, 3),
        (2, 4),
    ),
    "convolution over images": of_torch(
        lambda: nn.Conv2d(2, 2, (2, 3), stride=(1, 2), padding=(1, 0), groups=2),
        {
            "gradient flipped": (FlippedGradient, {"1.weight"}),
            "bias averaged": (BiasOverPositionsOfOneSample, {"1.bias"}),
        },
        positions(2, 5, 2),
        (2, 2, 2),
    ),
}

SETTINGS = {
    "convolution with stride": (lambda: nn.Conv1d(2, 3, 3, stride=2), (3, 2, 8)),
    "convolution with padding": (lambda: nn.Conv1d(2, 3, 3, padding=2, bias=False), (3, 2, 4)),
    "convolution with dilation": (lambda: nn.Conv1d(2, 3, 3, dilation=2, padding=1), (3, 2, 7)),
    "convolution with groups": (lambda: nn.Conv1d(4, 6, 2, groups=2), (3, 4, 5)),
    "convolution of equal size": (lambda: nn.Conv2d(2, 3, (3, 5), padding="same"), (2, 2, 4, 5)),
    "convolution of one place": (lambda: nn.Conv2d(3, 4, 1, padding="valid"), (2, 3, 2, 2)),
    "convolution of whole images": (lambda: nn.Conv2d(1, 20, 3), (2, 1, 3, 4)),
    "convolution with everything": (
        lambda: nn.Conv2d(4, 8, (2, 3), stride=(3, 2), padding=(1, 2), dilation=(2, 1), groups=4),
        (2, 4, 7, 6),
    ),
}
