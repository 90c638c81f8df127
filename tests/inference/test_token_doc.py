"""The example of docs/token-mode.md runs as it stands, on the embedded server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rollway.inference.launch import launch_embedded_sync
from rollway.inference.template_probe import TemplateVerdict
from rollway.trajectory import FitReason, PromptFit

PAGE = (Path(__file__).parents[2] / "docs" / "token-mode.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_example_runs_on_the_embedded_server(capsys: pytest.CaptureFixture[str]) -> None:
    with launch_embedded_sync("calculator") as url:
        program = EXAMPLES[0].replace("http://127.0.0.1:8000", url)
        assert program != EXAMPLES[0]
        exec(compile(program, "token-mode.md", "exec"), {"__name__": "__main__"})
    first, second = capsys.readouterr().out.splitlines()
    assert first == "the chat template extends"
    assert re.fullmatch(r"\d+ sampled tokens of \d+", second)


@pytest.mark.parametrize("name", [*TemplateVerdict, *PromptFit, *FitReason])
def test_every_name_of_a_finding_is_explained(name: str) -> None:
    assert f"`{name}`" in PAGE
