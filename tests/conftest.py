"""Settings of every test: one thread, the same examples each time, and shapes that are checked against their
annotations."""

import os

import hypothesis
import pytest
from jaxtyping import install_import_hook
from quick_gradcheck import quick_gradcheck

# Before torch is loaded, and for the programs that tests start: small networks, side by side, gain nothing by more
# threads. `test_two_threads` runs a file with two.
os.environ["OMP_NUM_THREADS"] = os.environ.get("NETS_TEST_THREADS", "1")

# Nothing depends on the clock, nor on what was drawn the last time.
hypothesis.settings.register_profile("nets", deadline=None, derandomize=True)
hypothesis.settings.load_profile("nets")

# Before nets is loaded. Programs that tests start are not checked.
install_import_hook(["nets.calculus", "nets.data", "nets.training"], "shapes.checked")


SLOW = ("test_torchrun", "test_experiments", "test_train", "test_own_layers", "test_wrong_layers", "test_two_threads")
"""Files that take a worker half a minute and more. They come first, so that no worker ends alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first; the others keep their order."""
    items.sort(key=lambda item: item.path.stem not in SLOW)


@pytest.fixture
def fast_gradcheck(monkeypatch: pytest.MonkeyPatch) -> None:
    """`quick_gradcheck`, for a whole test."""
    quick_gradcheck(monkeypatch)
