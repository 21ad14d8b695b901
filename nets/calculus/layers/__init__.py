"""Layers, each with its derivative in closed form directly beneath its forward. Each file holds a family of layers.

linear: Y = W X + B. Begin here. transposed_linear: the same with the weight the other way round.
activations: tanh and others, entry by entry, and their names.
gates: GELU, its tanh form, SiLU, Mish. piecewise: LeakyReLU, ELU, Hardtanh.
normalization: LayerNorm, RMSNorm, GroupNorm; affine is what they share.
softmax: Softmax, LogSoftmax.
convolution: Conv1d, Conv2d. pooling: the largest of each window. averaging: the mean of each window.
batch_norm: BatchNorm1d, BatchNorm2d, which couple the samples in training. dropout: Dropout.
embedding: Embedding, Positions. attention: Attention, BlockedAttention.
recurrent: LSTM, GRU.
shape: Flatten, Unflatten, Reshape. initialization: how weights are drawn.
conversion: modules of `torch.nn` as layers.

Index letters are those of `nets.calculus.layer`: n sample, i output of the layer, j input of the layer.
"""

from nets.calculus.layers.activations import ACTIVATIONS as ACTIVATIONS
from nets.calculus.layers.activations import Activation as Activation
from nets.calculus.layers.activations import Identity as Identity
from nets.calculus.layers.activations import ReLU as ReLU
from nets.calculus.layers.activations import Sigmoid as Sigmoid
from nets.calculus.layers.activations import Sin as Sin
from nets.calculus.layers.activations import Softplus as Softplus
from nets.calculus.layers.activations import Tanh as Tanh
from nets.calculus.layers.attention import Attention as Attention
from nets.calculus.layers.attention import AttentionWeights as AttentionWeights
from nets.calculus.layers.attention import BlockedAttention as BlockedAttention
from nets.calculus.layers.averaging import AdaptiveAvgPool1d as AdaptiveAvgPool1d
from nets.calculus.layers.averaging import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from nets.calculus.layers.averaging import AvgPool1d as AvgPool1d
from nets.calculus.layers.averaging import AvgPool2d as AvgPool2d
from nets.calculus.layers.batch_norm import BatchNorm1d as BatchNorm1d
from nets.calculus.layers.batch_norm import BatchNorm2d as BatchNorm2d
from nets.calculus.layers.convolution import Conv1d as Conv1d
from nets.calculus.layers.convolution import Conv2d as Conv2d
from nets.calculus.layers.dropout import Dropout as Dropout
from nets.calculus.layers.embedding import Embedding as Embedding
from nets.calculus.layers.embedding import Positions as Positions
from nets.calculus.layers.gates import GELU as GELU
from nets.calculus.layers.gates import GELUTanh as GELUTanh
from nets.calculus.layers.gates import Mish as Mish
from nets.calculus.layers.gates import SiLU as SiLU
from nets.calculus.layers.linear import Linear as Linear
from nets.calculus.layers.normalization import GroupNorm as GroupNorm
from nets.calculus.layers.normalization import LayerNorm as LayerNorm
from nets.calculus.layers.normalization import RMSNorm as RMSNorm
from nets.calculus.layers.piecewise import ELU as ELU
from nets.calculus.layers.piecewise import Hardtanh as Hardtanh
from nets.calculus.layers.piecewise import LeakyReLU as LeakyReLU
from nets.calculus.layers.pooling import MaxPool1d as MaxPool1d
from nets.calculus.layers.pooling import MaxPool2d as MaxPool2d
from nets.calculus.layers.recurrent import GRU as GRU
from nets.calculus.layers.recurrent import LSTM as LSTM
from nets.calculus.layers.shape import Flatten as Flatten
from nets.calculus.layers.shape import Reshape as Reshape
from nets.calculus.layers.shape import Unflatten as Unflatten
from nets.calculus.layers.softmax import LogSoftmax as LogSoftmax
from nets.calculus.layers.softmax import Softmax as Softmax
from nets.calculus.layers.transposed_linear import TransposedLinear as TransposedLinear
