"""Import a large package without its messages, and leave the process as it was."""

import importlib
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from nets.errors import InputError


def load_package(name: str) -> Any:
    """The module `name`, which the extra 'oracles' installs.

    Raises:
        InputError: if it is not installed.
    """
    if name in sys.modules:
        return sys.modules[name]
    if find_spec(name) is None:
        raise InputError(f"{name} is not installed; expected the extra 'oracles': pip install '.[oracles]'.")
    with _state_kept(), _silence(), warnings.catch_warnings():
        # Warnings of a package about its own code are of no use to the caller.
        warnings.simplefilter("ignore")
        # TensorFlow reads this variable once, when it is loaded: 3 shows fatal errors only. JAX sets it to 1.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        return importlib.import_module(name)


@contextmanager
def _state_kept() -> Iterator[None]:
    """Restore os.environ, where TensorFlow and JAX leave settings that child processes would inherit, and the random
    state.

    TensorFlow imports packages that draw random numbers while they are loaded.
    """
    environment, drawn, drawn_by_numpy = dict(os.environ), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        random.setstate(drawn)
        np.random.set_state(drawn_by_numpy)


@contextmanager
def _silence() -> Iterator[None]:
    """Hide what compiled code writes to stderr before its logging is set up; show it if the import fails.

    TensorFlow writes that it uses oneDNN at any log level. Only the file descriptor reaches compiled code.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        except BaseException:
            caught.seek(0)
            os.write(kept, caught.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
