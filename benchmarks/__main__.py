"""python -m benchmarks [GROUP ...] [--runs 9]

Measures the claims of the named groups, or of all groups. Prints each row as soon as it is measured. Writes
benchmarks/results.json, docs/benchmarks.md and the table in the README; the rows of other groups keep their last
measurement.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks import (
    accumulation,
    events,
    gpu,
    growth,
    jacobians,
    layers,
    lightning_loop,
    monitor,
    per_sample,
    records,
    start_up,
    steps,
    verification,
)
from benchmarks.measuring import Row, machine
from benchmarks.report import write

GROUPS: dict[str, Callable[[int], Iterator[Row]]] = {
    "steps": steps.rows,
    "accumulation": accumulation.rows,
    "lightning": lightning_loop.rows,
    "per_sample": per_sample.rows,
    "monitor": monitor.rows,
    "layers": layers.rows,
    "jacobians": jacobians.rows,
    "events": events.rows,
    "records": records.rows,
    "growth": growth.rows,
    "start_up": start_up.rows,
    "verification": verification.rows,
    "gpu": gpu.rows,
}
RESULTS = Path(__file__).parent / "results.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"any of {', '.join(GROUPS)}")
    parser.add_argument("--runs", type=int, default=9, help="interleaved runs of each measurement (default: 9)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.groups if name not in GROUPS]
    if unknown:
        parser.error(f"GROUP is '{unknown[0]}'; expected any of {', '.join(GROUPS)}")
    print(machine(), flush=True)
    if not torch.cuda.is_available():
        print("This machine has no GPU; the rows that need one are skipped.", flush=True)
    known: list[Row] = [Row(**found) for found in json.loads(RESULTS.read_text("utf-8"))] if RESULTS.exists() else []
    for name in arguments.groups or GROUPS:
        found = []
        try:
            for row in GROUPS[name](arguments.runs):
                print(row, flush=True)
                found.append(row)
        except ModuleNotFoundError as error:
            print(f"{name} needs the package {error.name}, which is not installed; the rest of its rows are skipped.")
        known = [row for row in known if row.row not in {new.row for new in found}] + found
        RESULTS.write_text(
            json.dumps([asdict(row) for row in known], indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    write(known, machine())


if __name__ == "__main__":
    main()
