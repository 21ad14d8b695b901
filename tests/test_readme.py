"""The examples in the README print what the README shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


EXAMPLES = re.findall(r"<!-- readme example.*?-->\n```python\n(.*?)```\n```\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize(("code", "shown"), EXAMPLES, ids=["a failing certificate", "an own layer", "a mean of means"])
def test_an_example_prints_what_the_readme_shows(code: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    with torch.random.fork_rng():
        exec(code, {})  # compared with the text in the README
    printed = capsys.readouterr().out
    # The last digits of an error depend on the machine.
    assert _without_digits(printed) == _without_digits(shown)


def _without_digits(text: str) -> list[str]:
    return [re.sub(r"\d\.\d+e[-+]\d+", "#", line).replace(" ", "") for line in text.strip().splitlines()]


def test_every_experiment_is_in_the_table() -> None:
    names = {path.stem for path in (Path(__file__).parent.parent / "configs" / "experiment").glob("*.yaml")}
    section = README.partition("## Experiments")[2].partition("\n## ")[0]
    assert names == set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


def test_the_table_of_layers_is_that_of_the_registry() -> None:
    """`python -m tests.layer_table --write` writes it. Other tests may have registered classes of their own."""
    program = "from tests.layer_table import shown, table; print(shown() == table())"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "True", "run python -m tests.layer_table --write"
