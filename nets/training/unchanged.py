"""What must not change from step to step. It is compared by object identity before each step, in well below a
microsecond."""

from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter, is_
from typing import Any

from torch import Tensor

from nets.calculus.network import Network
from nets.errors import InputError
from nets.torch_internals import own_modules, own_parameters
from nets.training.parameters import trained

requires_grad = attrgetter("requires_grad")


class Entries:
    """The entries of some dictionaries.

    Args:
        tables: the dictionaries; they are read now and at each comparison.
        ignored: names that are not compared.
    """

    def __init__(self, tables: Sequence[Mapping[Any, Any]], ignored: Collection[str] = ()) -> None:
        named = [(table, name) for table in tables for name in table if name not in ignored]
        self._owners, self._names = [table for table, _ in named], [name for _, name in named]
        self.values = [table[name] for table, name in named]
        # The number of entries shows whether one was added or removed.
        self._tables, self._count = tables, sum(map(len, tables))

    def same(self) -> bool:
        """Whether each entry is the same object as before."""
        return sum(map(len, self._tables)) == self._count and all(
            map(is_, map(dict.get, self._owners, self._names), self.values)  # type: ignore[arg-type]
        )


class SameParameters:
    """The parameters of a network: whether they are the same objects, and the same ones require a gradient.

    Attributes:
        trained: those that require a gradient, by name.
    """

    def __init__(self, network: Network) -> None:
        self._network, self.trained = network, trained(network)
        tables = [own for module in network.modules() for own in (own_modules(module), own_parameters(module)) if own]
        self._entries, self._moved = Entries(tables), list(self.trained.values())
        self._frozen = [parameter for parameter in network.parameters() if not parameter.requires_grad]

    def same(self, network: Network) -> bool:
        """Whether this is the network, and nothing has changed."""
        return (
            network is self._network
            and self._entries.same()
            and all(map(requires_grad, self._moved))
            and not (self._frozen and any(map(requires_grad, self._frozen)))
        )


class MovedParameters(SameParameters):
    """The parameters that a descent changes in place: whether they are in the same memory, too."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self._memory = list(map(Tensor.data_ptr, self._moved))

    def same(self, network: Network) -> bool:
        """Whether nothing has changed, including the memory of the trained parameters."""
        return list(map(Tensor.data_ptr, self._moved)) == self._memory and super().same(network)

    def refuse_changes(self) -> None:
        """Raise InputError if the updates would no longer reach a parameter that requires a gradient, or move another.

        Other changes of the network, such as another activation, are allowed.
        """
        now = trained(self._network)
        for name, memory in zip(self.trained, self._memory, strict=True):
            if now.get(name) is self.trained[name] and now[name].data_ptr() != memory:
                raise _changed(name, "has been given other memory")
        for name in (*self.trained, *now):
            if name not in self.trained:
                raise _changed(name, "requires a gradient, which it did not")
            if name not in now:
                raise _changed(name, "no longer requires a gradient")
            if now[name] is not self.trained[name]:
                raise _changed(name, "has been replaced by another parameter")


def _changed(name: str, change: str) -> InputError:
    return InputError(
        f"{name} {change} since descend was called; expected the same parameters in the same memory until its end: "
        "call descend anew, or write parameter.data.copy_(…) for other values."
    )
