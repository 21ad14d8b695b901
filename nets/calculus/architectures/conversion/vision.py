"""VGG, AlexNet and ResNet of torchvision.

Sources: Simonyan, Zisserman, arXiv:1409.1556; Krizhevsky, Sutskever, Hinton (2012); He et al., arXiv:1512.03385.
"""

from typing import Any

from nets.calculus.architectures.combinators import Residual, Sum
from nets.calculus.layer import Layer
from nets.calculus.layers import Flatten, ReLU
from nets.calculus.layers.conversion import children, register
from nets.calculus.network import Network

BASIC = (("conv1", "bn1"), ("conv2", "bn2"))
BOTTLENECK = (*BASIC, ("conv3", "bn3"))
"""The convolutions of a block with their norms; a ReLU stands between two of them, and behind the sum."""


def _of_features(module: Any) -> Network:
    """Features, pooling, one vector, classifier."""
    return Network({**children(module, "features", "avgpool"), "flatten": Flatten(), **children(module, "classifier")})


def _resnet(module: Any) -> Network:
    stem = children(module, "conv1", "bn1", "relu", "maxpool")
    stages = children(module, "layer1", "layer2", "layer3", "layer4", "avgpool")
    return Network({**stem, **stages, "flatten": Flatten(), **children(module, "fc")})


def _block(module: Any, convolutions: tuple[tuple[str, str], ...]) -> Network:
    """relu(X + F(X)), or relu(D(X) + F(X)) where the shapes differ."""
    branch: dict[str, Layer] = {}
    for number, names in enumerate(convolutions):
        branch |= {f"relu{number}": ReLU()} if number else {}
        branch |= children(module, *names)
    if module.downsample is None:
        return Network({"residual": Residual(branch), "relu": ReLU()})
    return Network({"sum": Sum({"branch": Network(branch), **children(module, "downsample")}), "relu": ReLU()})


register("torchvision.models.vgg.VGG", _of_features)
register("torchvision.models.alexnet.AlexNet", _of_features)
register("torchvision.models.resnet.ResNet", _resnet)
register("torchvision.models.resnet.BasicBlock", lambda module: _block(module, BASIC))
register("torchvision.models.resnet.Bottleneck", lambda module: _block(module, BOTTLENECK))
