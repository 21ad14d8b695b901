"""Run all samples and print the counts. The exit status is 1 if anything is unexpected.

python -m tests.opinfo            all operations and modules
python -m tests.opinfo --write    also write docs/pytorch.md
python -m tests.opinfo NAME ...   only these operations and modules, by PyTorch's names
"""

import os
import sys

from tests.opinfo.report import PAGE, counts, listed, not_reproduced, page, undecided, unexpected
from tests.opinfo.running import all_outcomes


def main(arguments: list[str]) -> int:
    names = [argument for argument in arguments if argument != "--write"]
    outcomes = sorted(
        all_outcomes(os.cpu_count() or 1, names or None), key=lambda o: (o.name, o.dtype, o.sample, o.order)
    )
    print(undecided(outcomes))
    print(counts(outcomes))
    problems = unexpected(outcomes)
    if not names:
        problems += not_reproduced(outcomes)
        written = page(outcomes)
        if "--write" in arguments:
            PAGE.write_text(written)
        elif not PAGE.exists() or listed(PAGE.read_text()) != listed(written):
            problems.append(
                "docs/pytorch.md lists other faults than this run; write it again with `make opinfo ARGS=--write`"
            )
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
