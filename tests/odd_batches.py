"""Modules and micro-batches for the tables of loops, drawn anew for each seed; among them some that cannot be
concatenated."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from nets.records.reason import Explained
from tests.right_loops import Loop

Given = tuple[nn.Module, Any, list[Any], Loop | None]


@dataclass(frozen=True)
class Kind:
    """A loop, and what must be found.

    Attributes:
        name: of the test.
        make: draws module, loss, micro-batches and loop.
        facts: a pattern for the names and numbers in the certificate.
        reason: the reason of the checks that fail; None for a right loop.
    """

    name: str
    make: Callable[[torch.Generator], Given]
    facts: str = ""
    reason: Explained | None = None

    def __str__(self) -> str:
        return self.name


SIZES = (4, 4, 2)


def linear(g: torch.Generator, inputs: int = 4, outputs: int = 2) -> nn.Linear:
    module = nn.Linear(inputs, outputs)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g))
    return module


def drawn(module: nn.Module, g: torch.Generator) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=g))
    return module


def pairs(g: torch.Generator, sizes: tuple[int, ...] = SIZES) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(n, 4, generator=g), torch.randn(n, 2, generator=g)) for n in sizes]


class Packed(nn.Module):
    """Tokens of all sequences in one row, and the offset of each sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 6), nn.Linear(6, 11)

    def forward(self, ids: Tensor, starts: Tensor) -> Tensor:
        h = self.embedding(ids)
        ends = starts.tolist()
        y: Tensor = self.head(torch.cat([h[a:b].cumsum(0) for a, b in itertools.pairwise(ends)]))
        return y


def packed(g: torch.Generator) -> list[Any]:
    made = []
    for lengths in ((3, 4), (5,), (2, 2, 2)):
        ids = torch.randint(0, 11, (sum(lengths),), generator=g)
        starts = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()])
        made.append(({"ids": ids, "starts": starts}, ids.roll(-1)))
    return made


class Graphs(nn.Module):
    """Each node adds the features of its neighbours; an edge is a pair of node numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.other = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        y: Tensor = self.own(x).index_add(0, edges[1], self.other(x)[edges[0]])
        return y


def graphs(g: torch.Generator) -> list[Any]:
    made = []
    for nodes, count in ((5, 7), (3, 4), (6, 9)):
        edges = torch.randint(0, nodes, (2, count), generator=g)
        x, target = torch.randn(nodes, 4, generator=g), torch.randn(nodes, 2, generator=g)
        made.append(({"x": x, "edges": edges}, target))
    return made


class Detector(nn.Module):
    """One argument, a list of images."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, images: list[Tensor]) -> Tensor:
        return torch.stack([self.linear(image.reshape(-1, 4).mean(0)) for image in images])


def images(g: torch.Generator, counts: tuple[int, ...], sides: tuple[int, ...]) -> list[Any]:
    made = []
    for count in counts:
        batch = [torch.randn(sides[i % len(sides)], 4, generator=g) for i in range(count)]
        made.append((batch, torch.randn(count, 2, generator=g)))
    return made


class OfSequences(nn.Module):
    """The last state of a recurrent network on a PackedSequence."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(4, 3), nn.Linear(3, 2)

    def forward(self, sequences: PackedSequence) -> Tensor:
        y: Tensor = self.head(self.cell(sequences)[1][0])
        return y


def sequences(g: torch.Generator) -> list[Any]:
    made = []
    for lengths in ((3, 2), (5, 4, 1), (2,)):
        batch = pack_sequence([torch.randn(n, 4, generator=g) for n in lengths])
        made.append((batch, torch.randn(len(lengths), 2, generator=g)))
    return made


class Padded(nn.Module):
    """A mean over time of sequences that are padded to the longest of their batch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x).tanh().mean(1)
        return y


def padded(g: torch.Generator) -> list[Any]:
    return [(torch.randn(n, t, 4, generator=g), torch.randn(n, 2, generator=g)) for n, t in ((4, 3), (3, 5), (1, 2))]


class Documents(nn.Module):
    """Each token attends to those of its document; each token has the number of its document."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 6), nn.Linear(6, 11)

    def forward(self, ids: Tensor, documents: Tensor) -> Tensor:
        h = self.embedding(ids)
        same = (documents[:, None] == documents).to(h.dtype)
        y: Tensor = self.head(same @ h / same.sum(1, keepdim=True))
        return y


def documents(g: torch.Generator) -> list[Any]:
    made = []
    for size, count in ((6, 2), (5, 1), (7, 3)):
        ids = torch.randint(0, 11, (size,), generator=g)
        made.append(({"ids": ids, "documents": torch.arange(size) * count // size}, ids.roll(-1)))
    return made
