"""The claims of the source documents, row by row: A of document 000 (and 002), B of 001, C of 003, D of 004.

Every engine that can derive a row is compared with the document's number, then with all other engines.
notebooks/README.md lists the rows and the notebooks that show them.
"""

import pytest

from nets import lessons
from tests.claims import document_000, document_001, document_003, document_004  # noqa: F401  # which enter their claims
from tests.claims.record import CLAIMS, LETTERS, close


def installed(engine: str) -> bool:
    return engine in lessons.installed()


PAIRS = [(row, LETTERS[letter]) for row, (engines, _) in CLAIMS.items() for letter in engines.split()]


@pytest.mark.parametrize(("row", "engine"), PAIRS, ids=[f"{row}-{engine}" for row, engine in PAIRS])
def test_claim(row: str, engine: str) -> None:
    if not installed(engine):
        pytest.skip(f"{engine} is not installed: it comes with the extra 'oracles'")
    CLAIMS[row][1](engine)


@pytest.mark.parametrize("row", [row for row, (engines, _) in CLAIMS.items() if " " in engines])
def test_all_engines_agree(row: str) -> None:
    engines, check = CLAIMS[row]
    first, *others = [check(LETTERS[letter]) for letter in engines.split() if installed(LETTERS[letter])]
    for other in others:
        for a, b in zip(first, other, strict=True):
            close(b, a)


def test_every_row_is_there() -> None:
    counts = {"A": 8, "B": 7, "C": 5, "D": 7}
    assert list(CLAIMS) == [f"{letter}{number}" for letter, count in counts.items() for number in range(1, count + 1)]
