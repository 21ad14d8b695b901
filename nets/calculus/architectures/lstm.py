"""A recurrent network that continues text."""

import torch

from nets import validation
from nets.calculus.architectures.registry import known_as
from nets.calculus.layer import Layer
from nets.calculus.layers.embedding import Embedding
from nets.calculus.layers.linear import Linear
from nets.calculus.layers.recurrent import LSTM
from nets.calculus.network import Network


@known_as(
    "lstm",
    classes="tokens",
    sizes={"tokens": 3, "embedding": 2, "width": 2, "layers": 1},
    inputs=lambda generator: torch.randint(3, (2, 3), generator=generator),
)
def lstm(
    tokens: int,
    embedding: int = 32,
    width: int = 128,
    layers: int = 1,
    *,
    generator: torch.Generator | None = None,
) -> Network:
    """Tokens → LSTM layers, one above the other → logits.

    X (N, T) of whole numbers → Y (N, T, tokens): Y_ntk is the logit of token k at position t + 1. The state begins at
    zero in each sample, and T may have any length.

    Args:
        tokens: the number of tokens, of X and of Y.
        embedding: width of the row of a token.
        width: units of each LSTM.
        layers: how many of them.
        generator: of the initial weights; one with the seed 0 if not given.

    Raises:
        InputError: for a number out of range.

    Source: Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 9 (1997).
    """
    generator = validation.generator(generator)
    count = validation.whole("layers", layers, 1, remedy="give the number of LSTM layers")
    parts: dict[str, Layer] = {"token": Embedding(tokens, embedding, generator=generator)}
    for number in range(count):
        parts[f"lstm_{number}"] = LSTM(width if number else embedding, width, generator=generator)
    return Network({**parts, "head": Linear(width, tokens, generator=generator)})
