"""The networks of `layers.py` as PyTorch users write them: `torch.nn` modules, fused attention, a fused optimizer."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """A transformer block, norm first, with one Linear layer for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projections, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        samples, positions, width = x.shape
        joined = self.projections(self.norm_1(x)).view(samples, positions, 3, self.heads, width // self.heads)
        queries, keys, values = joined.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        x = x + self.output(attended.transpose(1, 2).reshape(x.shape))
        return x + self.mlp(self.norm_2(x))


class GPT(nn.Module):
    """The network of `nets.gpt`."""

    def __init__(self, tokens: int, context: int, width: int, heads: int, blocks: int) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(tokens, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.token(x) + self.position.weight[: x.shape[1]])))

    @torch.no_grad()
    def load(self, parameters: dict[str, Tensor]) -> "GPT":
        """Take the parameters of `nets.gpt`, by the names that they have there."""
        for name, own in self.named_parameters():
            own.copy_(parameters[name] if name in parameters else _joined(name, parameters))
        return self


def _joined(name: str, parameters: dict[str, Tensor]) -> Tensor:
    """A parameter that has another name in `nets.gpt`, or stands there in three parts."""
    block, layer, kind = name.rsplit(".", 2)
    if layer == "output":
        return parameters[f"{block}.attention.output.{kind}"]
    return torch.cat([parameters[f"{block}.attention.{part}.{kind}"] for part in ("query", "key", "value")])


def tokens_loss(y: Tensor, target: Tensor) -> Tensor:
    """The mean cross entropy over all tokens, or samples."""
    return F.cross_entropy(y.flatten(0, -2), target.flatten())


def convolutional() -> nn.Sequential:
    """Two convolutions with their pools, and a Linear layer, for images of 8 × 8."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
