"""What the design promises of the code as a whole: who imports whom, how long a file is, what `import nets` loads."""

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


def test_importing_nets_loads_nothing_that_only_some_runs_need() -> None:
    """Measured: sklearn.datasets alone takes 2 to 3 s to import, as much as torch."""
    script = f"import sys, nets; print(*sorted({HEAVY!r} & sys.modules.keys()))"
    done = in_a_program_of_its_own(script)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")
