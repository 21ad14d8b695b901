"""Every sentence of a diagnosis, with the places of its numbers."""

from enum import Enum


class GradientFault(Enum):
    """What can be wrong with gradients."""

    NOT_FINITE = "not finite"
    SATURATED = "saturated"
    DEAD = "dead"
    VANISHING = "gradients vanish"
    EXPLODING = "gradients explode"


NOT_FINITE_NORM = "not finite: ‖∂ℓ/∂θ‖ of {name}{more} is {norm} at step {step}, the loss is {loss:.4g}."
NOT_FINITE_LOSS = "not finite: the loss is {loss} at step {step}, though every gradient norm is finite."
NOT_FINITE_TOTAL = (
    "not finite: the total gradient norm is {total} at step {step}, though that of each parameter is finite."
)
NOT_FINITE_UPDATE = "not finite: the update of {name} is NaN at step {step}, though its gradient is finite."

ALL_ZERO = "gradients vanish: every gradient is exactly 0, so the loss stays at {loss:.4g} (step {step})."
SMALL = (
    "gradients vanish: ‖∂ℓ/∂θ‖ of {early} is {small:.2g}, {factor} times smaller than that of {late}: it hardly learns "
    "(step {step})."
)
ZERO = (
    "gradients vanish: ‖∂ℓ/∂θ‖ of {early} is exactly 0, while that of {late} is {large:.2g}: it does not learn at all "
    "(step {step})."
)

LONG_UPDATE = (
    "gradients explode: the update of {name} is {ratio:.2g} times as long as {name} itself, with ‖∂ℓ/∂θ‖ = {norm:.2g} "
    "(step {step})."
)
LARGE = (
    "gradients explode: ‖∂ℓ/∂θ‖ of {early} is {large:.2g}, {factor} times larger than that of {late}: it grows on its "
    "way back to the input (step {step})."
)

SATURATED = (
    "saturated: layer {layer}: {share} of the outputs of its {kind} have {formula} < {flat}, so {measured}predicted "
    "attenuation {predicted}{others} ({moment})."
)
SATURATED_SOFTMAX = (
    "saturated: layer {layer}: {share} of its distributions have a largest probability above 0.99, so their scores get "
    "nearly no gradient{others} ({moment})."
)
DEAD = (
    "dead: layer {layer}: {share} of its {units:,} units have {formula} = 0 for each of {samples:,} samples: nothing "
    "passes back through them, and the weights that feed them stay as they are{others} ({moment})."
)

BROKEN_PARAMETERS = "It begins in the parameters of layer {layer}: not all of its weights are finite."
BROKEN_OUTPUTS = (
    "It begins in layer {layer}{kinds}: {count:,} of its {outputs:,} outputs are not finite, for inputs of norm "
    "{norm:.2g} and weights of ‖W‖_F/√I = {weight:.2g}."
)
BROKEN_BACKWARD = "It begins {where}, in layer {layer}, though every output is finite."

PASSAGE = "From layer {late} back to layer {early} the gradient {change}, predicted {predicted}"
PASSAGE_ZERO = "From layer {layer} back it is exactly 0, by {cause}."
PASSAGE_ONE_LAYER = "{passage}, by {cause}."
PASSAGE_OUTSTANDING = "{passage}: it {change} between layer {after} and layer {before} alone, by {cause}."
PASSAGE_ALL_LAYERS = (
    "{passage}: it {change} at each of {count} layers from layer {late} on, through weights of ‖W‖_F/√I = {weight:.2g} "
    "and slopes of {slope:.2g} (root mean square)."
)
SIGNAL = "The signal has {verb}, too: the input of layer {layer} is {factor} times {size} than that of the network."
HEALTHY = "gradients neither vanish nor explode, and no layer is saturated or dead, at the first step or the last"
