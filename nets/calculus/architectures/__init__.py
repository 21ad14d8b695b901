"""Layers made of layers, and networks that are known by a name. Each is a `Composite`, and may be a layer of a Network.

combinators: Residual, Repeat, Concatenate, Sum, Product. Begin here.
gated: swiglu, the gated perceptron.
dropped_attention: attention that leaves out weights.
transformer: SelfAttention with its projections, PreNormBlock, PostNormBlock.
registry: the networks of a run, by name, and their siblings.
gpt, lstm: continue text. conv: recognizes images. conversion: models of other packages.
"""

from nets.calculus.architectures import conversion as conversion
from nets.calculus.architectures.combinators import Concatenate as Concatenate
from nets.calculus.architectures.combinators import Product as Product
from nets.calculus.architectures.combinators import Repeat as Repeat
from nets.calculus.architectures.combinators import Residual as Residual
from nets.calculus.architectures.combinators import Sum as Sum
from nets.calculus.architectures.conv import conv as conv
from nets.calculus.architectures.dropped_attention import DroppedAttention as DroppedAttention
from nets.calculus.architectures.gated import swiglu as swiglu
from nets.calculus.architectures.gpt import gpt as gpt
from nets.calculus.architectures.lstm import lstm as lstm
from nets.calculus.architectures.transformer import PostNormBlock as PostNormBlock
from nets.calculus.architectures.transformer import PreNormBlock as PreNormBlock
from nets.calculus.architectures.transformer import SelfAttention as SelfAttention
