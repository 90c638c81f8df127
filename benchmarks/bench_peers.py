"""The same rollouts through other engines of this field, each in an environment of its own.

Same server, same bytes, same tool. What each leaves out stands in the file that drives it.
"""

from __future__ import annotations

import functools
import statistics
from typing import Any

from benchmarks.engine import WARM_UP
from benchmarks.options import medians, parser, repeats, table
from benchmarks.runs import run_program
from benchmarks.script import Script
from benchmarks.serving import ROOT, scripted_server

SCRIPT = Script(tokens=256, turns=3)
IN_FLIGHT = 256
PEERS = {"verifiers": 512, "inspect": 512}  # rollouts with --full
QUICK = 64


def main(argv: list[str]) -> None:
    options = parser("peers", __doc__ or "").parse_args(argv)
    times = repeats(options)
    print(f"{IN_FLIGHT} in flight, {SCRIPT.tokens} tokens, {SCRIPT.turns} turns; CPU milliseconds a rollout:")
    lines = []
    with scripted_server() as server:
        for name, full in PEERS.items():
            python = ROOT / f".venv-bench-{name}" / "bin" / "python"
            if not python.exists():
                print(f"{name} is not installed here: make .venv-bench-{name}/.installed")
                continue
            count = options.rollouts or (full if options.full else QUICK)
            run = functools.partial(run_program, server, script=SCRIPT, rollouts=count, in_flight=IN_FLIGHT)
            theirs, ours = [], []
            for _ in range(times):
                theirs.append(run(module=f"benchmarks.peers.{name}_run", python=python, warm_up=WARM_UP))
                ours.append(run(module="benchmarks.engine", warm_up=WARM_UP))
            ratio = statistics.median(t["cpu_s"] / o["cpu_s"] for t, o in zip(theirs, ours, strict=True))
            peer, engine = medians(theirs), medians(ours)
            lines.append(
                [
                    f"{name} {peer['version']}",
                    f"{count:,}",
                    f"{peer['cpu_s'] / count * 1e3:.2f}",
                    f"{engine['cpu_s'] / count * 1e3:.2f}",
                    f"{ratio:.1f}",
                    f"{peer['lag_max_ms']:.0f}",
                    f"{engine['lag_max_ms']:.0f}",
                    f"{peer['peak_rss'] / 2**20:,.0f} MB",
                    f"{engine['peak_rss'] / 2**20:,.0f} MB",
                    _proof(peer),
                ]
            )
    heads = ["", "rollouts", "theirs", "engine", "ratio", "late", "engine late", "peak", "engine peak"]
    table([*heads, "they ran"], lines)


def _proof(peer: dict[str, Any]) -> str:
    tokens = f"{peer['tokens']:,} ids" if "tokens" in peer else "no ids"
    return f"{peer['turns']:,} turns, {peer['ran']:,} calls, {tokens}"
