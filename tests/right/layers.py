"""Layers of torch.nn, with the initial values that they give themselves."""

from collections.abc import Callable

from torch import nn
from torch.nn.utils import parametrizations

from tests.building import Draw, Make, below, between, built, fixed, shaped, spread


def evaluated(build: Callable[[], nn.Module], *points: Draw) -> Make:
    return built(lambda: build().eval(), *points)


def _used(build: Callable[[], nn.Module], *points: Draw) -> Make:
    """A layer with running statistics that are not those of a new one, in evaluation mode."""

    def make() -> nn.Module:
        module = build()
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
        return module.eval()

    return built(make, *points)


PRODUCTS: dict[str, Make] = {
    "linear": built(lambda: nn.Linear(3, 4), shaped(2, 3)),
    "linear without bias": built(lambda: nn.Linear(3, 4, bias=False), shaped(2, 3)),
    "linear of one vector": built(lambda: nn.Linear(3, 4), shaped(3)),
    "linear of a sequence": built(lambda: nn.Linear(3, 2), shaped(2, 3, 3)),
    "bilinear": built(lambda: nn.Bilinear(3, 2, 2), shaped(3, 3), shaped(3, 2)),
    "convolution in 1-D": built(lambda: nn.Conv1d(2, 3, 3), shaped(2, 2, 5)),
    "convolution in 2-D, strided, padded": built(lambda: nn.Conv2d(2, 2, 2, stride=2, padding=1), shaped(2, 2, 3, 3)),
    "convolution in 2-D, dilated, in groups": built(
        lambda: nn.Conv2d(2, 4, 2, dilation=2, groups=2), shaped(1, 2, 4, 4)
    ),
    "convolution in 2-D, circular": built(
        lambda: nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), shaped(1, 1, 3, 3)
    ),
    "convolution in 3-D": built(lambda: nn.Conv3d(1, 2, 2), shaped(1, 1, 3, 3, 3)),
    "transposed convolution in 1-D": built(lambda: nn.ConvTranspose1d(2, 2, 3, stride=2), shaped(1, 2, 3)),
    "transposed convolution in 2-D": built(lambda: nn.ConvTranspose2d(2, 1, 2, output_padding=0), shaped(1, 2, 3, 3)),
    "embedding": built(lambda: nn.Embedding(5, 3), below(5, 2, 3)),
    "embedding with repeats": built(lambda: nn.Embedding(5, 3), fixed(1, 1, 4, 1)),
    "embedding with sparse gradients": built(lambda: nn.Embedding(5, 3, sparse=True), fixed(1, 1, 4, 1)),
    "bag of embeddings, summed": built(lambda: nn.EmbeddingBag(6, 3, mode="sum"), below(6, 5), fixed(0, 2)),
    "bag of embeddings, averaged": built(lambda: nn.EmbeddingBag(6, 3), below(6, 2, 3)),
    "bag of embeddings, largest": built(lambda: nn.EmbeddingBag(6, 3, mode="max"), fixed([0, 5], [2, 1])),
}

POOLS: dict[str, Make] = {
    "average pool": built(lambda: nn.AvgPool2d(2, padding=1), shaped(1, 2, 4, 4)),
    "max pool": built(lambda: nn.MaxPool2d(2), spread(1, 2, 4, 4)),
    "max pool with indices": built(lambda: nn.MaxPool1d(2, return_indices=True), spread(1, 2, 6)),
    "adaptive average pool": built(lambda: nn.AdaptiveAvgPool2d(2), shaped(1, 2, 3, 5)),
    "adaptive max pool": built(lambda: nn.AdaptiveMaxPool1d(2), spread(2, 2, 5)),
    "pool by norm": built(lambda: nn.LPPool2d(2, 2), between(0.5, 2, 1, 2, 4, 4)),
    "upsampling, bilinear": built(lambda: nn.Upsample(scale_factor=2, mode="bilinear"), shaped(1, 1, 3, 3)),
    "pixel shuffle": built(lambda: nn.PixelShuffle(2), shaped(1, 4, 2, 2)),
    "unfold": built(lambda: nn.Unfold(2), shaped(1, 2, 3, 3)),
    "fold": built(lambda: nn.Fold((3, 3), 2), shaped(1, 4, 4)),
    "padding by reflection": built(lambda: nn.ReflectionPad1d(2), shaped(1, 2, 4)),
    "flatten": built(nn.Flatten, shaped(2, 2, 3)),
    "identity": built(nn.Identity, shaped(2, 3)),
}

NORMS: dict[str, Make] = {
    "batch norm, training": built(lambda: nn.BatchNorm1d(3), shaped(4, 3)),
    "batch norm, evaluation": _used(lambda: nn.BatchNorm1d(3), shaped(4, 3)),
    "batch norm without weights": built(lambda: nn.BatchNorm1d(3, affine=False), shaped(4, 3)),
    "batch norm, cumulative average": built(lambda: nn.BatchNorm1d(3, momentum=None), shaped(4, 3)),
    "batch norm in 2-D": built(lambda: nn.BatchNorm2d(2), shaped(2, 2, 2, 3)),
    "linear, batch norm": built(lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), shaped(5, 3)),
    "convolution, batch norm, tanh": built(
        lambda: nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Tanh()), shaped(3, 2, 4)
    ),
    "layer norm": built(lambda: nn.LayerNorm(4), shaped(3, 4)),
    "layer norm over two axes": built(lambda: nn.LayerNorm((2, 3)), shaped(2, 2, 3)),
    "group norm": built(lambda: nn.GroupNorm(2, 4), shaped(2, 4, 3)),
    "instance norm": built(lambda: nn.InstanceNorm1d(2, affine=True), shaped(2, 2, 4)),
    "RMS norm": built(lambda: nn.RMSNorm(4), shaped(3, 4)),
    "local response norm": built(lambda: nn.LocalResponseNorm(2), shaped(2, 3, 4)),
    "weight norm": built(lambda: parametrizations.weight_norm(nn.Linear(3, 2)), shaped(2, 3)),
    "spectral norm, evaluation": evaluated(lambda: parametrizations.spectral_norm(nn.Linear(3, 2)), shaped(2, 3)),
    "orthogonal weight": built(lambda: parametrizations.orthogonal(nn.Linear(3, 3)), shaped(2, 3)),
}

SEQUENCES: dict[str, Make] = {
    "rnn": built(lambda: nn.RNN(2, 2), shaped(3, 2, 2)),
    "lstm": built(lambda: nn.LSTM(2, 2, batch_first=True), shaped(1, 3, 2)),
    "rnn in two layers with dropout": built(lambda: nn.RNN(1, 1, num_layers=2, dropout=0.5), shaped(2, 2, 1)),
    "gru in both directions": built(lambda: nn.GRU(2, 1, bidirectional=True), shaped(3, 1, 2)),
    "gru with its first state": built(lambda: nn.GRU(2, 2), shaped(2, 2, 2), shaped(1, 2, 2)),
    "rnn cell": built(lambda: nn.RNNCell(3, 2), shaped(2, 3), shaped(2, 2)),
    "lstm cell": built(lambda: nn.LSTMCell(3, 2), shaped(2, 3)),
    "gru cell": built(lambda: nn.GRUCell(3, 2), shaped(2, 3)),
    "attention": built(lambda: nn.MultiheadAttention(4, 2, batch_first=True), *[shaped(1, 3, 4)] * 3),
    "attention with a mask": built(
        lambda: nn.MultiheadAttention(4, 2, batch_first=True), *[shaped(1, 3, 4)] * 3, fixed([False, False, True])
    ),
    "attention, evaluation": evaluated(lambda: nn.MultiheadAttention(4, 1, batch_first=True), *[shaped(1, 3, 4)] * 3),
    "transformer encoder without dropout": built(
        lambda: nn.TransformerEncoderLayer(3, 1, 2, dropout=0.0, batch_first=True, activation="gelu"), shaped(1, 2, 3)
    ),
    "transformer encoder, evaluation": evaluated(
        lambda: nn.TransformerEncoderLayer(4, 2, 2, batch_first=True), shaped(1, 2, 4)
    ),
    "transformer encoder with dropout": built(
        lambda: nn.TransformerEncoderLayer(3, 1, 1, dropout=0.3, batch_first=True, activation="gelu"), shaped(1, 2, 3)
    ),
}
