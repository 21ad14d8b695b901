"""The notation of an operation: mul(v1, v2) as 'v1·v2'."""

import re
from typing import Any

from torch import Tensor

TEMPLATES = {
    "add": "{0} + {1}", "sub": "{0} − {1}", "rsub": "{1} − {0}", "mul": "{0}·{1}", "div": "{0}/{1}",
    "true_divide": "{0}/{1}", "rdiv": "{1}/{0}", "rtruediv": "{1}/{0}", "neg": "−{0}", "negative": "−{0}",
    "pow": "{0}^{1}", "rpow": "{1}^{0}", "square": "{0}²", "reciprocal": "1/{0}", "sqrt": "√{0}", "abs": "|{0}|",
    "absolute": "|{0}|", "sum": "Σ {0}", "norm": "‖{0}‖", "matmul": "{0} @ {1}", "mm": "{0} @ {1}", "mv": "{0} @ {1}",
    "rmatmul": "{1} @ {0}", "dot": "{0} · {1}", "mean": "mean {0}", "getitem": "{0}[{1}]", "t": "{0}ᵀ", "T": "{0}ᵀ",
    "mT": "{0}ᵀ", "sigmoid": "σ({0})", "where": "{1} if … else {2}",
}  # fmt: skip
"""Name of the function → its notation, with the arguments by their positions."""

REFLECTED = {"iadd", "isub", "imul", "idiv", "itruediv", "ipow", "radd", "rmul"}
"""In-place and reflected operators with the notation of the plain one: a += b is iadd, a.add_(b) is add_."""

SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def notation(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], names: dict[int, str]) -> str:
    """The operation in mathematical notation.

    Args:
        func, args, kwargs: the call.
        names: id of a tensor → its name.
    """
    name = _name(func)
    args = (*args, *(given for given in kwargs.values() if isinstance(given, Tensor)))
    texts = [_argument(given, names) for given in args]
    template = TEMPLATES.get(name)
    needed = max((int(position) for position in re.findall(r"{(\d)}", template)), default=-1) + 1 if template else 0
    if template and len(texts) >= needed:
        if name == "pow" and isinstance(args[1], int):
            return f"{texts[0]}{str(args[1]).translate(SUPERSCRIPT)}"
        return template.format(*texts)
    if len(texts) == 1 and not kwargs and isinstance(args[0], Tensor):
        return f"{name} {texts[0]}"
    tensors = [text for text, given in zip(texts, args, strict=True) if isinstance(given, (Tensor, list, tuple))]
    return f"{name}({', '.join(tensors or texts)})"


def _name(func: Any) -> str:
    name = getattr(func, "__name__", type(func).__name__)
    if name == "__get__":  # a property, such as .T
        name = getattr(func.__self__, "__name__", name)
    name = name.strip("_")
    return name[1:] if name in REFLECTED else name


def _argument(given: Any, names: dict[int, str]) -> str:
    if isinstance(given, Tensor):
        if id(given) in names:
            return names[id(given)]
        return f"{float(given.detach()):.4g}" if given.numel() == 1 and given.is_floating_point() else "c"
    if isinstance(given, (list, tuple)):
        return ", ".join(_argument(part, names) for part in given)
    if isinstance(given, slice):
        return ":"
    if isinstance(given, float):
        return f"{given:.4g}"
    return "…" if given is Ellipsis else str(given)
