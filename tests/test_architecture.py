"""What the design promises of the code as a whole: who imports whom, how long a file is, what `import nets` loads."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("nets/**/*.py"), *ROOT.glob("tests/**/*.py"), ROOT / "train.py"])
LONGEST = 320
HEAVY = {"hydra", "matplotlib", "omegaconf", "rich", "sklearn", "tensorboard", "torchvision"}


def in_a_program_of_its_own(script: str) -> subprocess.CompletedProcess[str]:
    """The tools that read imports fork, which a process in which JAX has run must not."""
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_imports_keep_the_contracts() -> None:
    """The contracts stand in pyproject.toml: the order of the packages, what telemetry may read, no cycles."""
    script = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True, no_logo=True))"
    done = in_a_program_of_its_own(script)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_imports_the_public_names() -> None:
    """A module that imports `nets` itself would need every other module to be whole before it."""
    script = "import grimp; print(grimp.build_graph('nets', cache_dir=None).find_modules_that_directly_import('nets'))"
    assert in_a_program_of_its_own(script).stdout.strip() == "set()"


def test_no_file_is_too_long_to_read() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}


READS_TEXT = {"startswith", "endswith", "removeprefix", "removesuffix", "partition"}
"""Methods of a text that look for words in it."""

TEXT_IS_DATA = {
    "nets/records/older_schemas.py",  # the documented beginnings of texts in old certificates
    "nets/verification/accumulation/state/containers.py",  # names of modules and attributes
}
"""Files in which such a text is no message."""


def decisions_by_text(path: Path) -> list[str]:
    """The places at which code looks for words in a text: `reason.startswith("kink")`, or `"kink" in check.message`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            # The parts of a dotted name are no words of a message.
            dotted = [getattr(argument, "value", None) for argument in node.args] == ["."]
            if node.func.attr in READS_TEXT and not dotted:
                found.append(f"{path.relative_to(ROOT).as_posix()}:{node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Attribute) and side.attr == "message" for side in sides):
                found.append(f"{path.relative_to(ROOT).as_posix()}:{node.lineno}: {ast.unparse(node)}")
    return found


def test_no_decision_of_a_verification_rests_on_words() -> None:
    """Decisions rest on `Verdict`, `Reason` and `Method`; a sentence may be mended without changing what any code
    does."""
    paths = [*ROOT.glob("nets/verification/**/*.py"), *ROOT.glob("nets/records/*.py")]
    named = [place for path in paths for place in decisions_by_text(path)]
    assert [place for place in named if place.partition(":")[0] not in TEXT_IS_DATA] == []
    assert {place.partition(":")[0] for place in named} == TEXT_IS_DATA


def test_importing_nets_loads_nothing_that_only_some_runs_need() -> None:
    """Measured: sklearn.datasets alone takes 2 to 3 s to import, as much as torch."""
    script = f"import sys, nets; print(*sorted({HEAVY!r} & sys.modules.keys()))"
    done = in_a_program_of_its_own(script)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")
