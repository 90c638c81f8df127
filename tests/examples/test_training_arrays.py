"""examples/training_arrays.py runs, and what it prints hangs together."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "training_arrays.py"


def test_the_example_shows_groups_arrays_and_one_sequence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = done.stdout
    groups = re.findall(r"train-\d+: rewards (.*), advantages (.*)", told)
    assert len(groups) == 4
    for rewards, advantages in groups:
        scores, gains = ([float(word) for word in text.split()] for text in (rewards, advantages))
        mean = sum(scores) / len(scores)
        assert all(abs(gain - (score - mean)) < 0.006 for score, gain in zip(scores, gains, strict=True))
    rows = int(re.search(r"in (\d+) rows", told)[1])
    assert set(re.findall(r"\((\d+), 1024\)", told)) == {str(rows)}
    assert int(re.search(r"(\d+) tokens to train on", told)[1]) > 500
    assert "0 sampled tokens were cut" in told
    picture = told.partition("one sequence: ")[2].splitlines()[1:]
    assert sum("mask 0" in line for line in picture) >= 2
    sampled = [line for line in picture if "mask 1" in line]
    assert len(sampled) > 10
    assert all(float(line.split()[-1]) <= 0 for line in sampled)
    assert "<|im_end|>" in sampled[-1]
