"""The engine beside the floor: CPU per rollout, rollouts a second, how late the event loop was, and memory.

Each figure is that of a fresh process; floor and engine take turns, so that a machine which is busy in
between slows both. The scripted server runs in a process of its own, and its CPU is not counted.
"""

from __future__ import annotations

import functools
import pstats
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.engine import WARM_UP
from benchmarks.options import medians, parser, repeats, table
from benchmarks.runs import run_program
from benchmarks.script import Script
from benchmarks.serving import ScriptedServer, scripted_server

QUICK = 256  # rollouts of a row at most, where it is not all in flight
SHOWN = 45  # functions of a profile


class Row(NamedTuple):
    """One line of the table."""

    name: str
    in_flight: int
    tokens: int  # of each reply
    turns: int  # with a call each; the answer comes on top
    rollouts: int  # with --full
    delay: float = 0.0  # seconds on average until the model answers

    @property
    def script(self) -> Script:
        return Script(self.tokens, self.turns, self.delay)

    def size(self, asked: int | None, full: bool) -> int:
        if asked is not None:
            return asked
        if full:
            return self.rollouts
        return max(self.in_flight, min(self.rollouts, QUICK * 4 // (self.turns + 1)))

    def told(self) -> str:
        delay = f", model takes {self.delay:g} s" if self.delay else ""
        return f"{self.in_flight:,} in flight, {self.tokens:,} tokens, {self.turns} turns{delay}"


ROWS = (
    Row("base", 256, 256, 3, 4096),
    Row("few", 16, 256, 3, 2048),
    Row("many", 1024, 256, 3, 4096),
    Row("most", 4096, 256, 3, 8192),
    Row("short", 256, 32, 3, 4096),
    Row("long", 256, 2048, 3, 1024),
    Row("turns10", 256, 256, 10, 1024),
    Row("turns50", 256, 256, 50, 256),
    Row("paced", 1024, 256, 3, 3072, delay=2.0),
    Row("paced_most", 4096, 256, 3, 4096, delay=10.0),
)
SPLIT = {
    "cpu_s": "all",
    "user_s": "  in user mode",
    "system_s": "  in the kernel",
    "loop_s": "the event loop's thread alone",
    "collecting_s": "  of it the garbage collector",
}
RAY = ("few", "base", "many", "most")


def main(argv: list[str]) -> None:
    options = _options(argv)
    rows = [row for row in ROWS if row.name in (options.rows or [row.name for row in ROWS])]
    with scripted_server(options.servers) as server:
        print_server(server)
        if options.profile:
            for row in rows:
                profile(server, row, row.size(options.rollouts, options.full))
            return
        counts = {row.name: row.size(options.rollouts, options.full) for row in rows}
        in_process(server, rows, counts, repeats(options))
        if not options.no_ray:
            through_ray(
                server, [row for row in rows if row.name in RAY], counts, repeats(options), options.workers
            )


def _options(argv: list[str]) -> Any:
    made = parser("engine", __doc__ or "")
    made.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], help="these only")
    made.add_argument("--no-ray", action="store_true", help="in this process only")
    made.add_argument("--workers", type=int, default=2, help="of Ray (2)")
    made.add_argument("--servers", type=int, default=1, help="processes of the scripted server (1)")
    made.add_argument("--profile", action="store_true", help="show where the engine's own time goes instead")
    return made.parse_args(argv)


def print_server(server: ScriptedServer) -> None:
    """How fast the server is, so that it is known not to be what is measured."""
    from benchmarks.load import requests_per_second

    for tokens in (32, 256, 2048):
        rate, share = requests_per_second(server, Script(tokens, 3))
        print(
            f"scripted server, replies of {tokens:5,} tokens: {rate:7,.0f} requests/s, {share:4.0%} of a core"
        )
    print()


def in_process(server: ScriptedServer, rows: list[Row], counts: dict[str, int], times: int) -> None:
    """The engine in one process, without Ray."""
    print(
        "CPU milliseconds of one rollout (user and system, all threads), rollouts a second, milliseconds that"
    )
    print(
        "the event loop was late (worst, 99th percentile), peak memory, the share of the garbage collector:"
    )
    lines = []
    for row in rows:
        count = counts[row.name]
        floors, engines = [], []
        for _ in range(times):
            run = functools.partial(
                run_program, server, script=row.script, rollouts=count, in_flight=row.in_flight
            )
            floors.append(run(module="benchmarks.floor", warm_up=1))
            engines.append(run(module="benchmarks.engine", warm_up=WARM_UP, max_turns=row.turns + 2))
        floor, engine = medians(floors), medians(engines)
        ratio = statistics.median(e["cpu_s"] / f["cpu_s"] for e, f in zip(engines, floors, strict=True))
        lines.append(
            [
                row.told(),
                f"{count:,}",
                f"{floor['cpu_s'] / count * 1e3:.2f}",
                f"{engine['cpu_s'] / count * 1e3:.2f}",
                f"{ratio:.2f}",
                f"{engine['collecting_s'] / engine['cpu_s']:.0%}",
                f"{count / floor['wall_s']:,.0f}",
                f"{count / engine['wall_s']:,.0f}",
                f"{floor['lag_max_ms']:.0f}/{floor['lag_p99_ms']:.0f}",
                f"{engine['lag_max_ms']:.0f}/{engine['lag_p99_ms']:.0f}",
                f"{engine['peak_rss'] / 2**20:,.0f} MB",
            ]
        )
    heads = [
        "",
        "rollouts",
        "floor",
        "engine",
        "ratio",
        "of it gc",
        "floor/s",
        "engine/s",
        "floor late",
        "engine late",
        "peak",
    ]
    table(heads, lines)
    print()


def through_ray(
    server: ScriptedServer, rows: list[Row], counts: dict[str, int], times: int, workers: int
) -> None:
    """The engine with its workers in processes of their own."""
    print(
        f"The same through Ray with {workers} workers, CPU milliseconds of one rollout; late: the workers'\n"
        f"event loops, then the driver's:"
    )
    lines = []
    for row in rows:
        count = counts[row.name]
        runs = [
            run_program(
                server,
                "benchmarks.engine",
                row.script,
                count,
                row.in_flight,
                warm_up=WARM_UP * workers,
                workers=workers,
                max_turns=row.turns + 2,
            )
            for _ in range(times)
        ]
        found = medians(runs)
        parts = [found["workers_cpu_s"], found["cpu_s"], found["ray_cpu_s"]]
        lines.append(
            [
                row.told(),
                f"{count:,}",
                *(f"{part / count * 1e3:.2f}" for part in (*parts, sum(parts))),
                f"{count / found['wall_s']:,.0f}",
                f"{found['lag_max_ms']:.0f}/{found['lag_p99_ms']:.0f}",
                f"{found['driver_lag_max_ms']:.0f}",
                f"{found['workers_peak_rss'] / 2**20:,.0f} MB",
                f"{found['peak_rss'] / 2**20:,.0f} MB",
            ]
        )
    heads = [
        "",
        "rollouts",
        "workers",
        "driver",
        "Ray's own",
        "all",
        "rollouts/s",
        "late",
        "driver late",
        "peak worker",
    ]
    table([*heads, "peak driver"], lines)
    print()


def profile(server: ScriptedServer, row: Row, count: int) -> None:
    """Where the time of the event loop's thread goes, by each function's own time.

    cProfile makes calls of Python functions look dearer than they are, and collecting garbage is within
    whatever function ran at that moment; the split of the plain run beside it is free of both.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "profile")
        plain = run_program(
            server,
            "benchmarks.engine",
            row.script,
            count,
            row.in_flight,
            warm_up=WARM_UP,
            max_turns=row.turns + 2,
        )
        told = run_program(
            server,
            "benchmarks.engine",
            row.script,
            count,
            row.in_flight,
            warm_up=WARM_UP,
            max_turns=row.turns + 2,
            profile=file,
        )
        found = pstats.Stats(file)
    print(f"{row.told()}: {count:,} rollouts, milliseconds of CPU each:")
    for name in ("cpu_s", "user_s", "system_s", "loop_s", "collecting_s"):
        print(f"  {SPLIT[name]:40}{plain[name] / count * 1e3:6.2f}")
    print(f"  {'all, under the profiler':40}{told['cpu_s'] / count * 1e3:6.2f}")
    print("\nunder the profiler, microseconds of own time, and calls, per rollout:")
    entries = sorted(found.stats.items(), key=lambda entry: -entry[1][2])  # type: ignore[attr-defined]
    total = sum(entry[1][2] for entry in entries)
    lines = []
    for (where, line, name), (_, calls, own, below, _) in entries[:SHOWN]:
        place = f"{_short(where)}:{line} {name}" if line else name
        lines.append(
            [
                place,
                f"{own / count * 1e6:.1f}",
                f"{own / total:.1%}",
                f"{calls / count:.1f}",
                f"{below / count * 1e6:.1f}",
            ]
        )
    table(["function", "own us", "share", "calls", "with callees us"], lines)


def _short(where: str) -> str:
    for mark in ("site-packages/", "lib/python3", "main/"):
        if mark in where:
            return where.split(mark, 1)[1]
    return where
