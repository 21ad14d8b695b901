"""Embedding and Positions; tests/test_embedding.py has the padding row."""

import torch
from torch import Tensor, nn

import nets
from nets.calculus.layers import Linear, Tanh
from nets.calculus.layers.embedding import Embedding, Positions
from tests.layer_case import BEFORE, of_torch, positions


class Torch(nn.Module):
    """A row of the table for each position, by the embedding of torch."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Embedding(rows, width).weight

    def forward(self, x: Tensor) -> Tensor:
        return x + nn.functional.embedding(torch.arange(x.shape[1]), self.weight)


nets.register(Torch, lambda module: Positions(*module.weight.shape).at({"weight": module.weight}))


class LastUseAlone(Embedding):
    """A token that occurs twice has the cotangent of one place, as `weight[x] = v` leaves it."""

    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        rows = torch.zeros_like(self.weight)
        rows[x.flatten()] = v.reshape(-1, v.shape[-1])
        return {"weight": rows}


class MeanOverSamples(Positions):
    def gradients(self, v: Tensor, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"weight": super().gradients(v, x, y)["weight"] / len(x)}


class WithoutTheInput(Positions):
    """The layer adds to X, and its pullback is that of the table alone."""

    def pullback(self, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return v * 0


def of_tokens(layer: nets.Layer) -> list[nets.Layer]:
    """Whole numbers → the layer → 4 → 2."""
    return [layer, Tanh(), Linear(4, 2, generator=torch.Generator().manual_seed(2))]


CASES = {
    "embedding": of_torch(
        lambda: nn.Embedding(5, 4),
        {"one use of a token": (LastUseAlone, {"0.weight"})},
        of_tokens,
        (4,),
        number=0,
        tokens=5,
    ),
    "positions": of_torch(
        lambda: Torch(5, 4),
        {
            "mean over samples": (MeanOverSamples, {"1.weight"}),
            "input left out": (WithoutTheInput, BEFORE),
        },
        positions(2, 4, 4),
        (3, 2),
    ),
}

SETTINGS = {
    "embedding of one token a sample": (lambda: nn.Embedding(5, 3), torch.tensor([[0], [4], [4]])),
    "embedding of pages": (lambda: nn.Embedding(7, 3), torch.arange(12).reshape(2, 2, 3) % 7),
    "embedding with padding": (lambda: nn.Embedding(5, 3, padding_idx=-1), torch.tensor([[0, 4], [4, 4], [3, 3]])),
    "positions of the longest sequence": (lambda: Torch(4, 3), (2, 4, 3)),
}
