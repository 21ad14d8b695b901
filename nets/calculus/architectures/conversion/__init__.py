"""Models of other packages as networks. Each conversion is registered for `Network.from_torch`.

encoder: `nn.TransformerEncoder` and its layers.
vision: VGG, AlexNet and ResNet of torchvision. gpt2: `GPT2LMHeadModel` of transformers. Their classes are registered by
name, so that neither package is needed.
"""

from nets.calculus.architectures.conversion import encoder as encoder
from nets.calculus.architectures.conversion import gpt2 as gpt2
from nets.calculus.architectures.conversion import vision as vision
