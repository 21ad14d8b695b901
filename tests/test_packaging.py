"""The wheel contains exactly the library, works without the checkout, and requires the packages that it imports."""

import ast
import email
import importlib.metadata
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests import pythons

ROOT = Path(__file__).parents[1]
MODULES = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("nets/**/*.py")}
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the checkout, so that build folders neither enter it nor remain in the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "LICENSE", "README.md", "train.py"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    for name in ("nets", "configs", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    # Build isolation would download setuptools, and tests must not need a network.
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", ".", cwd=source)
    (built,) = source.glob("dist/*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the wheel and, later on its path, the packages of this environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=folder)
    # Python ignores the .pth files in a folder that a .pth file names, such as that of an editable nets.
    (site_packages,) = folder.glob("lib/python*/site-packages")
    here = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (site_packages / "dependencies.pth").write_text("\n".join(here))
    return python


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def requirements(metadata: email.message.Message) -> list[Requirement]:
    return [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]


def test_the_wheel_contains_exactly_the_modules_styles_and_scripts(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assets = {path.relative_to(ROOT).as_posix() for kind in ("css", "js") for path in ROOT.glob(f"nets/**/*.{kind}")}
    assert len(assets) == 4 and names == MODULES | assets | {"nets/py.typed"}


def test_the_installed_library_verifies_a_network(python: Path, tmp_path: Path) -> None:
    script = """
import sys, torch, nets
assert nets.__file__.startswith(sys.prefix), nets.__file__
net = nets.mlp([3, 2])
x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
assert nets.verify(net, x).passed
"""
    run(python, "-I", "-c", script, cwd=tmp_path)


def test_every_installed_module_can_be_imported(python: Path, tmp_path: Path) -> None:
    script = """
import importlib, pkgutil, nets
for module in pkgutil.walk_packages(nets.__path__, "nets."):
    print(importlib.import_module(module.name).__file__)
"""
    installed = run(python, "-I", "-c", script, cwd=tmp_path).split()
    folder = python.parents[1].as_posix()
    assert all(path.startswith(folder) for path in installed)
    assert len(installed) == len(MODULES) - 1  # walk_packages does not list nets itself


def test_every_imported_package_is_required(requirements: list[Requirement]) -> None:
    """Each import is a direct requirement, even if another requirement installs it today, as torch does for
    typing-extensions."""
    # Extras do not count: their packages are imported by name, and only if they are installed.
    files = [file for requirement in requirements if not requirement.marker for file in contents(requirement.name)]
    provided = {file.parts[0].removesuffix(".py") for file in files}
    for path in (*ROOT.glob("nets/**/*.py"), ROOT / "train.py"):
        foreign = imported(ast.parse(path.read_text("utf-8"))) - sys.stdlib_module_names - {"nets"}
        assert foreign <= provided, f"{path.relative_to(ROOT)} imports what pyproject.toml does not name"


def contents(name: str) -> list[importlib.metadata.PackagePath]:
    """The files of an installed package."""
    return importlib.metadata.files(name) or []


def imported(tree: ast.AST) -> set[str]:
    """The top-level packages that a module imports, anywhere in it."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("version", PYTHONS)
def test_every_requirement_has_one_pin_within_its_range(requirements: list[Requirement], version: str) -> None:
    pinned = pins(version)
    for requirement in requirements:
        extras = re.findall(r"extra == .(\w+)", str(requirement.marker))
        if applies(requirement, extras, version):
            name = canonicalize_name(requirement.name)
            assert name in pinned, f"constraints.txt has no pin of {name} for Python {version}"
            assert pinned[name] in requirement.specifier


def test_every_indirect_requirement_is_pinned(requirements: list[Requirement]) -> None:
    """An unpinned package changes with each release and can break the library without a change of ours."""
    pinned = pins(HERE)
    if importlib.metadata.version("torch").partition("+")[0] != pinned["torch"]:
        pytest.skip("beside another torch, see make compat, other packages are installed")
    assert closure(requirements) - pinned.keys() == set()


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """The names of these requirements and of all their requirements, as far as they are installed here."""
    names: set[str] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in names and installed(name):
            names.add(name)
            further = map(Requirement, importlib.metadata.requires(name) or [])
            waiting += [one for one in further if applies(one, requirement.extras, HERE)]
    return names


def installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def applies(requirement: Requirement, extras: Iterable[str], version: str) -> bool:
    """Whether a package with these extras installs `requirement` on this Python version."""
    marker = requirement.marker
    if marker is None:
        return True
    python = {"python_version": version, "python_full_version": f"{version}.0"}
    return any(marker.evaluate({**python, "extra": extra}) for extra in ("", *extras))


def pins(version: str) -> dict[str, str]:
    """Name → version, from the pins in constraints.txt for one Python version on Linux."""
    found: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            if applies(pin, (), version):
                name, (exact,) = canonicalize_name(pin.name), pin.specifier
                assert exact.operator == "==" and "*" not in exact.version, f"{line} is not exact"
                assert name not in found, f"{name} has two pins for Python {version}"
                found[name] = exact.version
    return found


def test_make_accepts_the_pythons_that_the_wheel_accepts(metadata: email.message.Message) -> None:
    accepted = SpecifierSet(metadata["Requires-Python"])
    in_makefile = re.findall(r"3\.(\d+)\.%", (ROOT / "Makefile").read_text("utf-8"))
    assert in_makefile == [str(minor) for minor in range(20) if f"3.{minor}.0" in accepted]
    assert tuple(f"3.{minor}" for minor in in_makefile) == PYTHONS
    assert tuple(f"python{version}" for version in PYTHONS) == pythons.NAMES
