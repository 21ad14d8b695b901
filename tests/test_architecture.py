"""Rules for the code as a whole: which package imports which, the length of files, what `import nets` loads."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("nets/**/*.py"), *ROOT.glob("tests/**/*.py"), ROOT / "train.py"])
LONGEST = 320
HEAVY = {"hydra", "matplotlib", "omegaconf", "rich", "sklearn", "tensorboard", "torchvision"}


def in_a_new_process(script: str) -> subprocess.CompletedProcess[str]:
    """Runs the script in a new process: tools that read imports fork, and a process with JAX loaded must not fork."""
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_imports_keep_the_contracts() -> None:
    """The contracts are in pyproject.toml: the order of the packages, the imports of telemetry, no cycles."""
    script = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True, no_logo=True))"
    done = in_a_new_process(script)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_imports_nets_itself() -> None:
    """A module that imports `nets` itself would need all other modules to be loaded first."""
    script = "import grimp; print(grimp.build_graph('nets', cache_dir=None).find_modules_that_directly_import('nets'))"
    assert in_a_new_process(script).stdout.strip() == "set()"


def test_no_file_is_too_long_to_read() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}


READS_TEXT = {"startswith", "endswith", "removeprefix", "removesuffix", "partition"}
"""Methods of str that search for words."""

TEXT_IS_DATA = {
    "nets/records/older_schemas.py",  # prefixes of texts in old certificates, documented
    "nets/verification/accumulation/state/containers.py",  # names of modules and attributes
}
"""Files in which the searched text is not a message, with the reason."""


def decisions_by_text(path: Path) -> list[str]:
    """The places where code searches a text for words: `reason.startswith("kink")`, or `"kink" in check.message`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            # The parts of a dotted name are not words of a message.
            dotted = [getattr(argument, "value", None) for argument in node.args] == ["."]
            if node.func.attr in READS_TEXT and not dotted:
                found.append(f"{path.relative_to(ROOT).as_posix()}:{node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Attribute) and side.attr == "message" for side in sides):
                found.append(f"{path.relative_to(ROOT).as_posix()}:{node.lineno}: {ast.unparse(node)}")
    return found


def test_no_decision_of_verification_searches_a_text() -> None:
    """Decisions use `Verdict`, `Reason` and `Method`, so that a changed sentence changes no behaviour."""
    paths = [*ROOT.glob("nets/verification/**/*.py"), *ROOT.glob("nets/records/*.py")]
    named = [place for path in paths for place in decisions_by_text(path)]
    assert [place for place in named if place.partition(":")[0] not in TEXT_IS_DATA] == []
    assert {place.partition(":")[0] for place in named} == TEXT_IS_DATA


def test_importing_nets_loads_no_package_that_only_some_runs_need() -> None:
    """Importing sklearn.datasets alone takes 2 to 3 s, as long as torch."""
    script = f"import sys, nets; print(*sorted({HEAVY!r} & sys.modules.keys()))"
    done = in_a_new_process(script)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


PRIVATE = re.compile(
    r"torch(\.\w+)*\._(?!_)|from torch\S* import _(?!_)|from torch\S*\._\S* import|\._C\b"
    r"|\._(schema|version|\w+_hooks|forward_cls|compiled_call_impl|is_zerotensor)\b"
    r"|(?<!self)(?<!view)\._(parameters|buffers|modules)\b"
)
"""Matches a private name of PyTorch, but not an operator such as `torch.ops.aten._softmax`."""


def test_private_names_of_pytorch_are_in_one_module() -> None:
    found = {
        f"{path.relative_to(ROOT).as_posix()}:{number}"
        for path in ROOT.glob("nets/**/*.py")
        if path.name != "torch_internals.py"
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if PRIVATE.search(line.replace("torch.ops.aten._", "")) and "`" not in line
    }
    assert found == set()


SHARED_LINES = 6


def lines_without_imports(path: Path) -> list[tuple[int, str]]:
    """(number, line) of every line that is neither blank nor part of an import statement, without white space around
    it."""
    text = path.read_text("utf-8")
    imports = set[int]()
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                imports |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate((line.strip() for line in text.splitlines()), start=1)
    return [(number, line) for number, line in lines if line and number not in imports]


def test_no_passage_of_six_lines_occurs_twice() -> None:
    """A passage is six lines in a row: code, signatures, docstrings and comments, without imports and blank lines."""
    places: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path in sorted(path for path in ROOT.glob("nets/**/*.*") if path.suffix in {".py", ".js", ".css"}):
        lines = lines_without_imports(path)
        for start in range(len(lines) - SHARED_LINES + 1):
            numbers, passage = zip(*lines[start : start + SHARED_LINES], strict=True)
            places[passage].append(f"{path.relative_to(ROOT).as_posix()}:{numbers[0]}")
    assert [found for found in places.values() if len(found) > 1] == []
