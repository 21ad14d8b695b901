"""The gradient of a batch in closed form, written to be read: backpropagation in ten lines.

`nets.descend` with engine='closed_form' computes these numbers. It records the operations once and repeats them, see
`nets.training.replay`.
"""

import torch
from torch import Tensor

from nets.calculus.losses import Loss
from nets.calculus.network import Network
from nets.calculus.parameters import add_by_name
from nets.data.batch import Batch
from nets.training.parameters import trained


@torch.no_grad()
def backpropagate(network: Network, loss: Loss, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """ℓ and ∂ℓ/∂θ = Σ_n Σ_i v_ni ∂Z_ni/∂θ, by the layers' own derivatives, which `nets.verify` certifies.

    Z_ni is the output of the layer that owns θ, and v_ni = ∂ℓ/∂Z_ni the cotangent that reaches it: it starts as
    ∂ℓ/∂Y_nk at the output of the network, and each layer pulls it back to its input.

    Args:
        network: is left as it is.
        loss: ℓ.
        batch: X_nj and the targets.

    Returns:
        ℓ, a scalar tensor; and ∂ℓ/∂θ_p by the name of each parameter that requires a gradient.
    """
    values = network.trace(batch.inputs)
    gradients, names = dict[str, Tensor](), network.parameter_names()
    for index, v in network.pulled_back(loss.gradient(values[-1], batch.targets), values):
        own = network.layers[index].checked_gradients(v, values[index], values[index + 1])
        add_by_name(gradients, names[index], own)
    return loss(values[-1], batch.targets), {name: gradients[name] for name in trained(network)}
