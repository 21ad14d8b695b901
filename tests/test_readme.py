"""What the README shows is what a user sees."""

import re
from pathlib import Path

import pytest
import torch

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


EXAMPLES = re.findall(r"<!-- readme example.*?-->\n```python\n(.*?)```\n```\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize(("code", "shown"), EXAMPLES, ids=["a failing certificate", "an own layer", "a mean of means"])
def test_what_is_shown_is_what_the_example_prints(code: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    with torch.random.fork_rng():
        exec(code, {})  # the README's own words
    printed = capsys.readouterr().out
    # The last digits of an error belong to the machine.
    assert _without_digits(printed) == _without_digits(shown)


def _without_digits(text: str) -> list[str]:
    return [re.sub(r"\d\.\d+e[-+]\d+", "#", line).replace(" ", "") for line in text.strip().splitlines()]


def test_every_experiment_is_in_the_table() -> None:
    names = {path.stem for path in (Path(__file__).parent.parent / "configs" / "experiment").glob("*.yaml")}
    assert names == set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
