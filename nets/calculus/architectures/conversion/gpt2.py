"""`GPT2LMHeadModel` of the package transformers.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019).
"""

from typing import Any

from nets.calculus.architectures.conversion.encoder import attention_with_dropout, dropout
from nets.calculus.architectures.transformer import PreNormBlock
from nets.calculus.layers import GELU, Attention, GELUTanh, Positions
from nets.calculus.layers.conversion import NoLayerError, children, converted, register, sharing
from nets.calculus.network import Network

SETTINGS = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
}
"""Of the configuration, the settings that change the attention, with their only values that have a layer."""


def _model(module: Any) -> Network:
    return Network(children(module, "transformer", "lm_head"))


def _transformer(module: Any) -> Network:
    for name, value in SETTINGS.items():
        if getattr(module.config, name) != value:
            raise NoLayerError("", module, f"{name}={value} in its configuration.")
    position = sharing(Positions(*module.wpe.weight.shape), module.wpe)
    blocks = {str(n): converted(f"h.{n}", block) for n, block in enumerate(module.h)}
    embedded = {**children(module, "wte"), "wpe": position, **dropout(module, "drop")}
    return Network({**embedded, "h": Network(blocks), **children(module, "ln_f")})


def _block(module: Any) -> PreNormBlock:
    named = children(module, "attn", "mlp", "ln_1", "ln_2")
    return PreNormBlock(named["attn"], named["mlp"], named["ln_1"], named["ln_2"])


def _attention(module: Any) -> Network:
    attention = attention_with_dropout(Attention(module.num_heads), module.attn_dropout.p, module.training)
    projections = children(module, "c_attn", "c_proj")
    return Network(
        {
            "c_attn": projections.pop("c_attn"),
            "attention": attention,
            **projections,
            **dropout(module, "resid_dropout"),
        }
    )


def _mlp(module: Any) -> Network:
    return Network({**children(module, "c_fc", "act", "c_proj"), **dropout(module, "dropout")})


register("transformers.activations.NewGELUActivation", lambda module: GELUTanh())
register("transformers.activations.GELUActivation", lambda module: GELU())
register("transformers.models.gpt2.modeling_gpt2.GPT2LMHeadModel", _model)
register("transformers.models.gpt2.modeling_gpt2.GPT2Model", _transformer)
register("transformers.models.gpt2.modeling_gpt2.GPT2Block", _block)
register("transformers.models.gpt2.modeling_gpt2.GPT2Attention", _attention)
register("transformers.models.gpt2.modeling_gpt2.GPT2MLP", _mlp)
