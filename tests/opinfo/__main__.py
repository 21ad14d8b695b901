"""Run everything, print the counts, and end with status 1 where anything is strange.

python -m tests.opinfo            all of it
python -m tests.opinfo --write    the same, and write docs/pytorch.md
python -m tests.opinfo NAME ...   these operations and modules alone, as PyTorch calls them
"""

import os
import sys

from tests.opinfo.report import PAGE, counts, listed, page, strange, undecided, unseen
from tests.opinfo.running import everything


def main(arguments: list[str]) -> int:
    names = [argument for argument in arguments if argument != "--write"]
    outcomes = sorted(
        everything(os.cpu_count() or 1, names or None), key=lambda o: (o.name, o.dtype, o.sample, o.order)
    )
    print(undecided(outcomes))
    print(counts(outcomes))
    wrong = strange(outcomes)
    if not names:
        wrong += unseen(outcomes)
        written = page(outcomes)
        if "--write" in arguments:
            PAGE.write_text(written)
        elif not PAGE.exists() or listed(PAGE.read_text()) != listed(written):
            wrong.append(
                "docs/pytorch.md lists other faults than this run: write it anew with `make opinfo ARGS=--write`"
            )
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
