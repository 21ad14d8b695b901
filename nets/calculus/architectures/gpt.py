"""A transformer that continues text."""

import torch

from nets import validation
from nets.calculus.architectures.registry import known_as
from nets.calculus.architectures.transformer import PreNormBlock, SelfAttention
from nets.calculus.layer import Layer
from nets.calculus.layers.attention import Attention
from nets.calculus.layers.embedding import Embedding, Positions
from nets.calculus.layers.gates import GELUTanh
from nets.calculus.layers.linear import Linear
from nets.calculus.layers.normalization import LayerNorm
from nets.calculus.network import Network


@known_as(
    "gpt",
    classes="tokens",
    sizes={"tokens": 5, "context": 3, "width": 4, "heads": 2, "blocks": 1},
    inputs=lambda generator: torch.randint(5, (2, 3), generator=generator),
)
def gpt(
    tokens: int,
    context: int = 64,
    width: int = 64,
    heads: int = 4,
    blocks: int = 2,
    tied: bool = False,
    rotary: float | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Network:
    """A decoder: tokens, with positions → blocks of causal attention and a perceptron of four times the width → logits.

    X (N, T) of whole numbers, T ≤ context → Y (N, T, tokens): Y_ntk is the logit of token k at position t + 1.

    Args:
        tokens: the number of tokens, of X and of Y.
        context: the longest sequence, and the length of the table of positions.
        width: of each position.
        heads: of the attention, a divisor of the width.
        blocks: how many.
        tied: whether the head has the parameter of the embedding, 'token.weight' (Press, Wolf, arXiv:1608.05859). Its
            gradient is then the sum over both uses.
        rotary: the base of a rotary embedding in each attention, such as 10,000, in place of the table of positions,
            see `Attention`; a head then has an even width. None for the table.
        generator: of the initial weights; one with the seed 0 if not given.

    Raises:
        InputError: for a number out of range, heads that do not divide the width, or an odd width of a head with a
            rotary embedding.

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), section 2.3.
    """
    generator = validation.generator(generator)
    count = validation.whole("blocks", blocks, 1, remedy="give the number of blocks")

    def block() -> Layer:
        attention = SelfAttention(width, Attention(heads, rotary=rotary), generator=generator)
        mlp = Network(
            [Linear(width, 4 * width, generator=generator), GELUTanh(), Linear(4 * width, width, generator=generator)]
        )
        return PreNormBlock(attention, mlp, LayerNorm(width), LayerNorm(width))

    positions = {} if rotary is not None else {"position": Positions(context, width, generator=generator)}
    embedding = Embedding(tokens, width, generator=generator)
    with torch.no_grad():
        embedding.weight *= 0.02
    layers = {
        "token": embedding,
        **positions,
        "blocks": Network([block() for _ in range(count)]),
        "norm": LayerNorm(width),
    }
    head = Linear(width, tokens, bias=False, generator=generator)
    if validation.yes_or_no("tied", tied):
        head.weight = embedding.weight
    return Network({**layers, "head": head})
