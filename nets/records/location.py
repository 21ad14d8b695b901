"""The submodule that a wrong gradient comes from."""

from dataclasses import dataclass
from typing import Any

from nets.errors import quoted
from nets.records.json_fields import fields_of
from nets.text import listed

DERIVATIVES = {"pullback", "slope", "gradients", "jacobians"}
"""The methods of a layer that return derivatives. Others return numbers that follow from these."""


@dataclass(frozen=True, slots=True)
class Location:
    """A submodule whose own vector-Jacobian product is wrong, at the inputs that it has within the module.

    Attributes:
        module: its dotted name; '' for the module that was verified.
        kind: the name of its class.
        itself: whether it has children and none of them is wrong alone: the fault is then in its own code.
        by: its parameters and inputs by which its gradient is wrong; () if its backward pass fails.
        also: other submodules that are wrong alone.
        untried: children that cannot be called alone, so that the fault may be in them.
        failing: in the order of the forward pass, the last of the submodules whose gradients are wrong; '' if unknown.
        passing: the first of the submodules whose gradients are right; '' if unknown.
        methods: for a `nets.Layer`, its methods whose results are wrong: 'pullback', or 'slope' of an activation;
            'gradients', 'jacobians', or another override such as 'sample_norms'. () for any other module.
        order: 1 if its gradient is wrong; 2 if its gradient is right and the derivatives of its gradient are wrong.
            Then `by` may have 'v', the gradient that reaches its output.
    """

    module: str
    kind: str
    itself: bool
    by: tuple[str, ...]
    also: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()
    failing: str = ""
    passing: str = ""
    methods: tuple[str, ...] = ()
    order: int = 1

    def __str__(self) -> str:
        """A sentence without its full stop."""
        known = [f"everything up to `{self.failing}` fails"] if self.failing else []
        # Some parameters of the wrong submodule may have right gradients.
        passes = "every parameter" if self.passing == self.module else "everything"
        known += [f"{passes} from `{self.passing}` on passes"] if self.passing else []
        where = f"`{self.module}` ({self.kind})" if self.module else f"the code of {self.kind}"
        if self.itself:
            where += " itself, outside its children"
        if self.untried:
            where += f", or at {_quoted(self.untried)}, which cannot be called alone"
        several = [*self.by[:2], f"{len(self.by) - 2} more"] if len(self.by) > 3 else list(self.by)
        what = f"its own gradient by {listed(several)} is wrong" if self.by else "its own backward pass is wrong"
        if self.methods:
            code = listed([f"{self.kind}.{method}" for method in self.methods])
            wrong = "a wrong derivative by" if DERIVATIVES.issuperset(self.methods) else "wrong numbers for"
            what = f"{code} give{'s' * (len(self.methods) == 1)} {wrong} {listed(several)}"
            if self.order == 2:
                points = ["the incoming gradient v" if name == "v" else name for name in several]
                what = f"the numbers of {code} are right, and their own derivative by {listed(points)} is wrong"
        also = f", and likewise at {_quoted(self.also)}" if self.also else ""
        text = f"{', '.join(known)}{': ' if known else ''}look at {where}: {what}{also}"
        return text[0].upper() + text[1:]

    @classmethod
    def from_dict(cls, fields: Any) -> "Location | None":
        """The location from the JSON of `dataclasses.asdict(location)`; None from null.

        Raises:
            ValueError: if it is anything else.
        """
        if fields is None:
            return None
        kinds: dict[str, type] = {
            "itself": bool,
            "order": int,
            **dict.fromkeys(("by", "also", "untried", "methods"), list),
        }
        given = fields_of(cls, "the location", fields)
        for name, value in given.items():
            entries = value if isinstance(value, list) else []
            if not isinstance(value, kinds.get(name, str)) or not all(isinstance(entry, str) for entry in entries):
                raise ValueError(f"the field {name} of the location is {quoted(value)}")
        read: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
        return cls(**read)


def _quoted(names: tuple[str, ...]) -> str:
    return listed([f"`{name}`" for name in names])
