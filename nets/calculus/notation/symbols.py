"""The text of a derivative read as a function: '(1 − {y}²)' of a layer's input {z} and output {y}, '({p} − {q}) / {c}'
of the letters of a loss.

What a reader sees is what is computed. The notation is that of a textbook: + − · / for arithmetic, a space or nothing
for a product, ² ³ ^ for powers, [a > b] for 1 where a > b and 0 elsewhere, and the functions in FUNCTIONS, with or
without brackets.
"""

import functools
import math
import re
from collections.abc import Callable

import torch
from torch import Tensor

from nets.errors import InputError

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "σ": torch.sigmoid,
    "Φ": lambda z: torch.erfc(-z * math.sqrt(0.5)) / 2,
    "φ": lambda z: torch.exp(-z * z / 2) / math.sqrt(2 * math.pi),
    **{
        name: getattr(torch, name)
        for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "log", "sqrt", "sign", "abs")
    },
}
"""The functions of a symbol, by name; see MEANINGS for the letters."""

MEANINGS = {
    "σ": "σ(z) is 1 / (1 + exp −z)",
    "Φ": "Φ is the distribution function of the standard normal",
    "φ": "φ is the density of the standard normal",
    "[": "[a > b] is 1 where a > b, and 0 elsewhere",
}
"""The meaning of the letters and brackets of a symbol, unless it is clear from their name."""

POWERS = {"²": "** 2", "³": "** 3", "^": "**"}
OPERATORS = {"−": "-", "-": "-", "+": "+", "·": "*", "/": "/", ">": ">", "<": "<", "≥": ">=", "≤": "<="}
OPENING = {"(": "(", "[": "indicator("}
CLOSING = {")": ")", "]": ")"}
Letters = tuple[tuple[str, str], ...]
"""The letters of an expression, each with what it stands for."""

TOKEN = re.compile(r"\s*(\{[a-z]\}|\d+(?:\.\d+)?|[^\W\d_]+|\S)")


@functools.cache
def slope_function(symbol: str, owner: str = "a layer") -> Callable[[Tensor, Tensor], Tensor]:
    """The function (z, y) → f′ that `symbol` writes.

    Args:
        symbol: in the notation above.
        owner: whose symbol it is, for a message.

    Raises:
        InputError: for a text that is not in this notation, here or at the first call.
    """
    found = written_function(symbol, (("z", "the input"), ("y", "the output")), owner)
    return lambda z, y: found(z=z, y=y).to(y).expand_as(y)


@functools.cache
def written_function(symbol: str, letters: Letters, owner: str) -> Callable[..., Tensor]:
    """The function of tensors that `symbol` writes; its arguments are called like the letters.

    Args:
        symbol: in the notation above, with each letter in braces.
        letters: the letters that may occur, each with what it stands for.
        owner: whose symbol it is, for a message.

    Raises:
        InputError: for a text that is not in this notation, here or at the first call.
    """
    if not isinstance(symbol, str):
        raise _unread(symbol, letters, owner)
    source = _python(symbol, letters, owner)
    known = {**FUNCTIONS, "indicator": lambda condition: condition.to(torch.float64)}
    try:
        code = compile(source, "<symbol>", "eval")
    except SyntaxError as error:
        raise _unread(symbol, letters, owner) from error

    def value(**numbers: Tensor) -> Tensor:
        # Only the names in `known`, the letters and numbers are in the source.
        try:
            found = eval(code, {"__builtins__": {}}, {**known, **numbers})
        except (AttributeError, RuntimeError, TypeError) as error:  # such as −1 < z < 1, or cos 2 z without brackets
            raise _unread(symbol, letters, owner) from error
        return torch.as_tensor(found)

    return value


def meanings(symbol: str) -> tuple[str, ...]:
    """The meaning of the letters and brackets of a symbol."""
    return tuple(dict.fromkeys(MEANINGS[token] for token in TOKEN.findall(symbol) if token in MEANINGS))


def as_factor(symbol: str) -> str:
    """The symbol as it is written in a product: in brackets if it is a sum, a difference or a quotient."""
    depth = 0
    for place, letter in enumerate(symbol):
        depth += (letter in "([") - (letter in ")]")
        if depth == 0 and place > 0 and letter in "+−-/":
            return f"({symbol})"
    return symbol


def _python(symbol: str, letters: Letters, owner: str) -> str:
    """The same as a Python expression."""
    known = {f"{{{letter}}}" for letter, _ in letters}
    parts: list[str] = []
    ended = False  # whether a value has just ended
    waiting = ""  # the function that waits for an argument without brackets
    for token in TOKEN.findall(symbol):
        if token in POWERS or token in OPERATORS or token in CLOSING:
            parts.append(POWERS.get(token) or OPERATORS.get(token) or CLOSING[token])
            ended = token in CLOSING or token in ("²", "³")
            continue
        if ended:
            parts.append("*")
        name = token in FUNCTIONS
        if not name and token not in OPENING and token not in known and not token[0].isdigit():
            raise _unread(symbol, letters, owner)
        if waiting and token not in OPENING:
            parts.append(f"({token.strip('{}')})")
            ended, waiting = True, ""
            continue
        waiting = token if name else ""
        parts.append(OPENING.get(token, token.strip("{}")))
        ended = not name and token not in OPENING
    if waiting:
        raise _unread(symbol, letters, owner)
    return " ".join(parts) or "1"


def _unread(symbol: str, letters: Letters, owner: str) -> InputError:
    return InputError(
        f"the symbol of {owner} is '{symbol}'; expected a derivative in terms of "
        f"{', '.join(f'{{{letter}}} for {meaning}' for letter, meaning in letters)}, numbers, + − · / ² ³ ^, brackets, "
        f"[a > b] and the functions {', '.join(FUNCTIONS)}: correct the symbol, or leave it out."
    )
