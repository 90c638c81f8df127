"""The examples of docs/tools.md run as they stand and print what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "tools.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PRINTED = [
    block or f"{line}\n"
    for block, line in re.findall(
        r"^It prints(?::\n\n```\n(.*?)^```| `(.*?)`)", PAGE, re.DOTALL | re.MULTILINE
    )
]


@pytest.mark.parametrize(("example", "printed"), list(zip(EXAMPLES, PRINTED, strict=True)))
def test_an_example_runs_and_prints_what_the_page_says(tmp_path: Path, example: str, printed: str) -> None:
    program = tmp_path / "example.py"
    program.write_text(example)
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert (done.stderr, done.stdout) == ("", printed)
