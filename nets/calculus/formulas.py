"""The closed form of each Jacobian, for a reader."""

from nets.calculus.layer import Layer
from nets.calculus.layers import Activation, Linear
from nets.calculus.network import Network

MOST_WRITTEN = 4
"""Linear layers whose weights `chain_rule` writes one by one."""


def formulas(network: Network) -> dict[str, str]:
    """Parameter → its Jacobian in index form, such as '∂Y_k/∂W_ij = δ_ki (1 − Y_k²) X_j'.

    X is the input of the network, Y its output, H1, H2, … the outputs of the layers between. Where another Linear layer lies
    between a parameter and Y, or one whose formula is not known, the product of what lies between is A_ki = ∂Y_k/∂Z_i, Z being
    the layer's own output. A formula that would need another factor of an unknown layer is absent.
    """
    last = len(network) - 1
    values = ["X", *(f"H{index + 1}" for index in range(last)), "Y"]
    found = {}
    for index, layer in enumerate(network.layers):
        if isinstance(layer, Linear):
            factor = _factor(network, index, values)
            found[f"{index}.weight"] = f"∂Y_k/∂W_ij = {factor} {values[index]}_j"
            if layer.bias is not None:
                found[f"{index}.bias"] = f"∂Y_k/∂B_i = {factor}"
    first = next((i for i, layer in enumerate(network.layers) if isinstance(layer, Linear)), len(network))
    if all(map(is_written, network.layers if first == len(network) else network.layers[:first])):
        found["input"] = f"∂Y_k/∂X_j = {_input_factor(network, values)}"
    return found


def is_written(layer: Layer) -> bool:
    """Whether it is known how the layer's derivative is written: those of a Linear layer, and of an activation that states it."""
    return isinstance(layer, Linear) or (isinstance(layer, Activation) and hasattr(layer, "symbol"))


def chain_rule(network: Network, index: int) -> str:
    """The product of what lies between Y and layer `index`, such as 'Σ_l (1 − Y_k²) W4_kl (1 − H4_l²) W2_li'.

    For a Linear layer that is A_ki = ∂Y_k/∂Z_i. For index −1 it is ∂Y_k/∂X_j. W2 is the weight of layer 2; of many layers only the
    outer ones are written. Where a layer on the way does not state how its derivative is written, the product is its name alone.
    """
    last = len(network) - 1
    values = ["X", *(f"H{number + 1}" for number in range(last)), "Y"]
    linear = [number for number in range(len(network) - 1, index, -1) if isinstance(network.layers[number], Linear)]
    bottom = "j" if index < 0 else "i"
    if not all(map(is_written, network.layers[index + 1 :])):
        return f"A_k{bottom}"
    if not linear:
        return " ".join([f"δ_k{bottom}", *_slopes(network, index + 1, len(network), values, "k")])
    between = [letter for letter, _ in zip("lmopqrstuvwxyz", linear[1:], strict=False)] if len(linear) <= MOST_WRITTEN else []
    letters = ["k", *(between or "·" * (len(linear) - 1)), bottom]
    parts, stop = [], len(network)
    for one, above, below in zip(linear, letters, letters[1:], strict=False):
        parts.append(" ".join([*_slopes(network, one + 1, stop, values, above), f"W{one}_{above}{below}"]))
        stop = one
    if len(linear) > MOST_WRITTEN:
        parts = ["Σ", parts[0], "…", parts[-1]]
    return " ".join([*(f"Σ_{letter}" for letter in between), *parts, *_slopes(network, index + 1, stop, values, bottom)])


def _factor(network: Network, index: int, values: list[str]) -> str:
    """∂Y_k/∂Z_i, with Z the output of layer `index`."""
    if any(isinstance(layer, Linear) or not is_written(layer) for layer in network.layers[index + 1 :]):
        return "A_ki"
    return " ".join(["δ_ki", *_slopes(network, index + 1, len(network), values, "k")])


def _input_factor(network: Network, values: list[str]) -> str:
    linear = [index for index, layer in enumerate(network.layers) if isinstance(layer, Linear)]
    if not linear:
        return " ".join(["δ_kj", *_slopes(network, 0, len(network), values, "k")])
    before = _slopes(network, 0, linear[0], values, "j")
    if len(linear) == 1 and all(map(is_written, network.layers[linear[0] :])):
        return " ".join([*_slopes(network, linear[0] + 1, len(network), values, "k"), "W_kj", *before])
    return " ".join(["Σ_i A_ki W_ij", *before])


def _slopes(network: Network, start: int, stop: int, values: list[str], letter: str) -> list[str]:
    """The slopes of the activations from the last to the first."""
    slopes = []
    for index in reversed(range(start, stop)):
        layer = network.layers[index]
        if isinstance(layer, Activation) and is_written(layer) and layer.symbol:
            slopes.append(layer.symbol.format(z=f"{values[index]}_{letter}", y=f"{values[index + 1]}_{letter}"))
    return slopes
