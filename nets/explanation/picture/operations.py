"""How an operation is written: mul(v1, v2) as 'v1·v2'."""

import re
from typing import Any

import torch
from torch import Tensor

TEMPLATES = {
    "add": "{0} + {1}", "sub": "{0} − {1}", "rsub": "{1} − {0}", "mul": "{0}·{1}", "div": "{0}/{1}", "true_divide": "{0}/{1}",
    "rdiv": "{1}/{0}", "rtruediv": "{1}/{0}", "neg": "−{0}", "negative": "−{0}", "pow": "{0}^{1}", "rpow": "{1}^{0}",
    "square": "{0}²", "reciprocal": "1/{0}", "sqrt": "√{0}", "abs": "|{0}|", "absolute": "|{0}|", "sum": "Σ {0}", "norm": "‖{0}‖",
    "matmul": "{0} @ {1}", "mm": "{0} @ {1}", "mv": "{0} @ {1}", "rmatmul": "{1} @ {0}", "dot": "{0} · {1}", "mean": "mean {0}",
    "getitem": "{0}[{1}]", "t": "{0}ᵀ", "T": "{0}ᵀ", "mT": "{0}ᵀ", "sigmoid": "σ({0})", "where": "{1} if … else {2}",
}  # fmt: skip
"""By the name of the function, with its arguments by their places."""

SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def label(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], names: dict[int, str]) -> str:
    """The operation as one would write it, with `names` of the tensors by their ids."""
    name = _name(func)
    args = (*args, *(one for one in kwargs.values() if isinstance(one, Tensor)))
    written = [_argument(one, names) for one in args]
    template = TEMPLATES.get(name)
    places = max((int(place) for place in re.findall(r"{(\d)}", template)), default=-1) + 1 if template else 0
    if template and len(written) >= places:
        if name == "pow" and isinstance(args[1], int):
            return f"{written[0]}{str(args[1]).translate(SUPERSCRIPT)}"
        return template.format(*written)
    if len(written) == 1 and not kwargs and isinstance(args[0], Tensor):
        return f"{name} {written[0]}"
    tensors = [one for one, given in zip(written, args, strict=True) if isinstance(given, (Tensor, list, tuple))]
    return f"{name}({', '.join(tensors or written)})"


def _name(func: Any) -> str:
    name = getattr(func, "__name__", type(func).__name__)
    if name == "__get__":  # a property, such as .T
        name = getattr(func.__self__, "__name__", name)
    name = name.strip("_")
    # a += b is iadd, a.add_(b) was add_
    return name[1:] if name in ("iadd", "isub", "imul", "idiv", "itruediv", "ipow", "radd", "rmul") else name


def _argument(given: Any, names: dict[int, str]) -> str:
    if isinstance(given, Tensor):
        if id(given) in names:
            return names[id(given)]
        return f"{float(given.detach()):.4g}" if given.numel() == 1 and given.is_floating_point() else "c"
    if isinstance(given, (list, tuple)):
        return ", ".join(_argument(one, names) for one in given)
    if isinstance(given, slice):
        return ":"
    if isinstance(given, float):
        return f"{given:.4g}"
    return str(given) if isinstance(given, (int, torch.dtype)) else "…" if given is Ellipsis else str(given)
