"""`nn.TransformerEncoder` and its layers."""

from typing import Any

from torch import nn
from torch.nn import functional as F

from nets.calculus.architectures.dropped_attention import DroppedAttention
from nets.calculus.architectures.transformer import PostNormBlock, PreNormBlock
from nets.calculus.layer import Layer
from nets.calculus.layers import GELU, Attention, Linear, ReLU
from nets.calculus.layers.conversion import NoLayerError, children, converted, register
from nets.calculus.network import Network

ACTIVATIONS = {F.relu: ReLU, F.gelu: GELU}
"""The functions that `nn.TransformerEncoderLayer` may have in place of a module."""


def dropout(module: nn.Module, name: str) -> dict[str, Layer]:
    """The Dropout layer for a child, where it leaves anything out; nothing in evaluation mode."""
    return children(module, name) if module.get_submodule(name).p and module.training else {}


def attention_with_dropout(attention: Attention, p: float, training: bool) -> Layer:
    """The attention, whose weights pass through Dropout in training."""
    return DroppedAttention(attention, p) if p and training else attention


def _attention(module: nn.MultiheadAttention) -> Network:
    """The joined projection of Q, K and V, the attention, and the projection of its output."""
    expected = {
        "batch_first=True": module.batch_first,
        "keys and values of the width of the queries": module.in_proj_weight is not None,
        "no further keys and values": module.bias_k is None and not module.add_zero_attn,
    }
    for words, given in expected.items():
        if not given:
            raise NoLayerError("", module, words + ".")
    width = module.embed_dim
    joined = Linear(width, 3 * width, bias=module.in_proj_bias is not None)
    joined.weight, joined.bias = module.in_proj_weight, module.in_proj_bias
    attention = attention_with_dropout(Attention(module.num_heads, causal=False), module.dropout, module.training)
    return Network({"in_proj": joined, "attention": attention, **children(module, "out_proj")})


def _activation(module: nn.TransformerEncoderLayer) -> Layer:
    function: Any = module.activation
    if isinstance(function, nn.Module):
        return converted("activation", function)
    if function not in ACTIVATIONS:
        raise NoLayerError("", module, "the activation 'relu' or 'gelu', or a module that has a layer.")
    return ACTIVATIONS[function]()


def _block(module: nn.TransformerEncoderLayer) -> Layer:
    try:
        attention = _attention(module.self_attn)
    except NoLayerError as error:
        raise error.below("self_attn") from None
    inner = {**children(module, "linear1"), "activation": _activation(module), **dropout(module, "dropout")}
    mlp = Network({**inner, **children(module, "linear2"), **dropout(module, "dropout2")})
    kind = PreNormBlock if module.norm_first else PostNormBlock
    attended = Network({**attention.parts, **dropout(module, "dropout1")})
    return kind(attended, mlp, **{f"norm_{n}": converted(f"norm{n}", getattr(module, f"norm{n}")) for n in (1, 2)})


def _encoder(module: nn.TransformerEncoder) -> Network:
    blocks = {str(n): converted(f"layers.{n}", block) for n, block in enumerate(module.layers)}
    return Network({"blocks": Network(blocks), **({} if module.norm is None else children(module, "norm"))})


register(nn.TransformerEncoderLayer, _block)
register(nn.TransformerEncoder, _encoder)
