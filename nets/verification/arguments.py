"""The arguments of `verify`."""

from collections.abc import Mapping

from torch import nn

from nets.calculus.network import Network
from nets.errors import InputError, quoted
from nets.records.method import ENGINE_METHODS, Method

CHOICES: dict[str, tuple[object, ...]] = {
    "coverage": ("auto", "full"),
    "order": (1, 2),
    "dtype": ("float64", "as is"),
    "forward": ("optional", "required"),
}


NOT_ENGINES = [method for method in Method if method not in ENGINE_METHODS]
"""Names that an engine of the caller must not have, since `verify` treats these derivations differently."""


def check_arguments(
    module: object,
    words: Mapping[str, object],
    *,
    seed: object,
    tolerance: object,
    closed_form: object,
    engines: object,
) -> None:
    """InputError for the first argument of `verify` that cannot be used."""
    if not isinstance(module, nn.Module):
        raise InputError(
            f"verify was given a {type(module).__name__}; expected a torch.nn.Module, and then its inputs."
        )
    for name, given in words.items():
        _one_of(name, given, CHOICES[name])
    if tolerance is not None and not (isinstance(tolerance, float) and 0 < tolerance < 1):
        raise InputError(
            f"tolerance is {quoted(tolerance)}; expected a number above 0 and below 1, in parts of the largest "
            "entry, or None."
        )
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise InputError(
            f"seed is {quoted(seed)}; expected a whole number, 0 or above and below 2⁶³, to find the same when run "
            "again."
        )
    if closed_form is not None and not callable(closed_form):
        raise InputError(
            f"closed_form is {quoted(closed_form)}; expected a function closed_form(module, *inputs) of "
            f"{{name: ∂Y/∂name}}."
        )
    if engines is not None and not (isinstance(engines, Mapping) and all(map(callable, engines.values()))):
        raise InputError(
            f"engines is {quoted(engines)}; expected what nets.verification.derivations.engines.available() returns."
        )
    taken = [name for name in engines or {} if name in NOT_ENGINES]
    if taken:
        raise InputError(
            f"an engine is called {quoted(str(taken[0]))}, which is a derivation of verify itself; expected another "
            "name."
        )
    if engines and not isinstance(module, Network):
        raise InputError(
            f"engines were given for a {type(module).__name__}; expected a nets.Network, whose layers they know: leave "
            "them out, or give a derivation of yours as closed_form."
        )


def first_order_only(**given: object) -> None:
    for name, value in given.items():
        if value:
            raise InputError(
                f"order=2 was given with {name}; expected nothing besides the seed, since the gradient of the gradient "
                f"is held against PyTorch's own derivations and differences alone: leave {name} to a call with order=1."
            )


def _one_of(name: str, given: object, among: tuple[object, ...]) -> None:
    # The type is compared first: True equals 1 in Python, and comparing an array with a number gives an array.
    if type(given) is not type(among[0]) or given not in among:
        raise InputError(f"{name} is {quoted(given)}; expected {' or '.join(map(repr, among))}.")
