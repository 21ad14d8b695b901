"""The suite runs with one thread. What depends on their number runs in a process with two."""

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_tests_that_depend_on_the_number_of_threads_pass_with_two() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        str(HERE / "two_threads.py"),
    ]
    environment = {**os.environ, "NETS_TEST_THREADS": "2"}
    done = subprocess.run(command, cwd=HERE.parent, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None and int(passed[1]) >= 14 and "skipped" not in done.stdout
