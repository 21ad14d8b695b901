"""Import a large package in silence, and leave the process as it was."""

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


def load(name: str) -> Any:
    """The module `name`, which the extra 'oracles' installs.

    Raises:
        InputError: if it is not installed.
    """
    if name in sys.modules:
        return sys.modules[name]
    if find_spec(name) is None:
        raise InputError(
            f"{name} is not installed; expected the extra 'oracles' to be there: pip install '.[oracles]'."
        )
    with _state_kept(), _silence(), warnings.catch_warnings():
        # What a package warns of while it is loaded concerns its own code, and nobody who uses it from here.
        warnings.simplefilter("ignore")
        # TensorFlow reads it once, when it is loaded: 3 leaves out all but fatal errors. JAX sets it to 1.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        return importlib.import_module(name)


@contextmanager
def _state_kept() -> Iterator[None]:
    """TensorFlow and JAX leave settings of theirs in os.environ, which the programs that one starts would inherit.

    TensorFlow also brings along packages that draw random numbers while they are loaded.
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
    """Keep from the terminal what compiled code writes before its logging is set up; if the import fails, show it.

    TensorFlow says that it uses oneDNN whatever the log level. Only the file descriptor reaches compiled code.
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
