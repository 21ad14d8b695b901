"""The output of the package, kept in files: `python -m tests.golden` compares, `--write` keeps the new output.

A change that keeps behaviour keeps these files. Certificates of every right and wrong module,
explanations, pictures, the records of descents and the values on a TensorBoard page are kept. Errors of the size of
rounding, which depend on the processor, are written as `~`; with `--exact FOLDER` everything is written as it is, with
the JSON of each certificate, for comparisons on one machine.
"""

import argparse
import difflib
import hashlib
import re
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

import nets

KEPT = Path(__file__).parent / "golden"

ROUNDING = re.compile(r"(?<![\w.])-?\d(\.\d+)?e-(0[6-9]|[1-9]\d+)(?!\w)")
"""Numbers below 1e-5 in scientific notation."""

LONG = re.compile(r"(-?\d*\.\d{5})\d{3,}")
"""Numbers with more than seven decimals, which are cut after the fifth."""

Part = tuple[str, int]


def certificate(part: Part) -> tuple[str, str, str]:
    """(the name of the record, text, JSON) of one record of a table."""
    from tests import test_accumulation_kinds, test_checker

    record = tables()[part[0]][part[1]]
    torch.manual_seed(0)
    judged = test_accumulation_kinds.judged if part[0] == "loops" else test_checker.judged
    found = judged(record, 0)
    return str(record), str(found), found.to_json()


def tables() -> dict[str, list[object]]:
    from tests.right_loops_by_kind import RIGHT_KINDS
    from tests.right_modules import RIGHT
    from tests.wrong.contracts import CONTRACTS
    from tests.wrong.elsewhere import ELSEWHERE
    from tests.wrong.later_writes import LATER_WRITES
    from tests.wrong_backwards import WRONG
    from tests.wrong_loops_by_kind import WRONG_KINDS

    contracts = [*CONTRACTS, *LATER_WRITES, *ELSEWHERE]
    return {"right": [*RIGHT], "wrong": [*WRONG], "contracts": contracts, "loops": [*RIGHT_KINDS, *WRONG_KINDS]}


def networks() -> Iterator[tuple[str, str]]:
    """The certificate and two explanations of every network of the table of cases."""
    from tests.cases import NETWORKS

    for case in NETWORKS:
        yield f"{case}: certificate", str(nets.verify(case.network, case.x))
        for name, point in (*case.network.named_parameters(), ("input", case.x[0])):
            index = tuple(size - 1 for size in point.shape)
            told = nets.explain(case.network, case.x, name, index, sample=-1)
            yield f"{case}: {name}{list(index)}", str(told)
            yield f"{case}: {name}{list(index)}: HTML", digest(told._repr_html_())


def pictures() -> Iterator[tuple[str, str]]:
    from tests.test_picture import PICTURES

    for name, draw in PICTURES.items():
        torch.manual_seed(0)
        yield name, digest(draw()._repr_html_())


def digest(text: str) -> str:
    return f"{len(text)} letters, SHA-256 {hashlib.sha256(text.encode()).hexdigest()}"


def descents() -> Iterator[tuple[str, str]]:
    """Numbers of each step and the values on the page, with the bytes that hold them."""
    from nets.telemetry.tensorboard.board import Board

    generator = torch.Generator().manual_seed(0)
    x, t = torch.randn(10, 4, generator=generator), torch.randn(10, 3, generator=generator)
    settings: dict[str, dict[str, object]] = {
        "full batch": {},
        "momentum": {"batch_size": 4, "momentum": 0.9, "weight_decay": 0.01},
        "micro-batches": {"batch_size": 8, "micro_batch_size": 3},
        "autograd": {"batch_size": 5, "engine": "autograd", "sample_norms": True},
        "sample norms": {"sample_norms": True},
    }
    for name, given in settings.items():
        network = nets.mlp([4, 5, 3], generator=torch.Generator().manual_seed(1))
        with tempfile.TemporaryDirectory() as folder:
            with Board(folder) as board:
                steps = []
                for step in nets.descend(
                    network, nets.Batch(x, t), loss=nets.MeanSquaredError(), learning_rate=0.1, steps=6, **given
                ):
                    steps.append(step)
                    board.write(step)
            (path,) = Path(folder).iterdir()
            raw = [Event.FromString(one) for one in RawEventFileLoader(str(path)).Load()]
        numbers = [
            (s.step, s.epoch, s.loss, s.gradient_norm, s.update_ratio, s.accumulation.sizes, s.noise) for s in steps
        ]
        yield f"{name}: records", "\n".join(map(str, numbers))
        for event in raw:
            event.ClearField("wall_time")
            event.ClearField("source_metadata")
        yield f"{name}: page", "\n".join(f"{e.step} {v.tag} {v.simple_value:.9g}" for e in raw for v in e.summary.value)
        yield (
            f"{name}: bytes",
            hashlib.sha256(b"".join(e.SerializeToString(deterministic=True) for e in raw)).hexdigest(),
        )


def sections(pool: ProcessPoolExecutor) -> dict[str, list[tuple[str, str]]]:
    """File → (title, text) of each of its sections."""
    found: dict[str, list[tuple[str, str]]] = {}
    for table, records in tables().items():
        made = list(pool.map(certificate, [(table, number) for number in range(len(records))], chunksize=8))
        found[f"certificates_{table}.txt"] = [(name, text) for name, text, _ in made]
        found[f"certificates_{table}.json.txt"] = [(name, json) for name, _, json in made]
    return found | {"networks.txt": [*networks()], "pictures.txt": [*pictures()], "descents.txt": [*descents()]}


def as_kept(text: str) -> str:
    return LONG.sub(r"\1", ROUNDING.sub("~", text))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--write", action="store_true", help="keep what is new")
    options.add_argument("--exact", type=Path, help="write every digit, and all JSON, to this folder instead")
    given = options.parse_args()
    folder: Path = given.exact or KEPT
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = sections(pool)
    changed = 0
    for name, parts in found.items():
        if not given.exact and (name.endswith(".json.txt") or name == "pictures.txt"):
            continue
        text = "\n\n".join(f"## {title}\n{body}" for title, body in parts) + "\n"
        if not given.exact:
            text = "".join(line for line in as_kept(text).splitlines(True) if "SHA-256" not in line)
        path = folder / name
        if given.write or given.exact:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            continue
        kept = path.read_text("utf-8") if path.exists() else ""
        difference = list(difflib.unified_diff(kept.splitlines(), text.splitlines(), str(path), "now", lineterm=""))
        changed += bool(difference)
        print("\n".join(difference[:200]), end="\n" if difference else "")
    print(f"{len(found)} files, {changed} of them changed")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
