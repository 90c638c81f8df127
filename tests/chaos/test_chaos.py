"""500 rollouts with every fault that needs no Ray."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
from rich.console import Console

from rollway.chaos.chaos import Chaos, run_chaos
from rollway.chaos.options import planned_faults

QUICK = {"pool_size": 2, "model": {"retry": {"first_delay": 0.02}}}


def test_500_rollouts_with_every_fault_keep_every_promise(tmp_path: Path) -> None:
    plan = planned_faults(0, "all", ["driver=2"], workers=0)
    plan = msgspec.structs.replace(plan, tool_timeout=3.0, hook_timeout=1.0)
    chaos = Chaos(plan, 500, workers=0, concurrency=64, config=QUICK, away=0.5)
    printed = io.StringIO()
    assert run_chaos(chaos, tmp_path, Console(file=printed)), printed.getvalue()
    struck = {line.split()[0] for line in printed.getvalue().splitlines() if line.rstrip().endswith(" ok")}
    assert {name.partition(".")[0] for name in struck} == set(plan.rates)
