"""Trajectories written and read back a second, alone and through the run directory."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.engine import Asked, settings
from benchmarks.environment import ScriptedEnvironment
from benchmarks.options import parser, table
from benchmarks.script import Script
from benchmarks.serving import scripted_server
from rollway.evaluation.rollout import run_rollout
from rollway.evaluation.run_directory import Wanted, open_run, part_files, read_trajectories
from rollway.inference import ChatClient
from rollway.tools import ToolPool
from rollway.trajectory import Trajectory, decode_trajectory, encode_trajectory

SCRIPT = Script(tokens=256, turns=3)
FULL = 20_000
QUICK = 1_000


def main(argv: list[str]) -> None:
    options = parser("records", __doc__ or "").parse_args(argv)
    count = options.rollouts or (FULL if options.full else QUICK)
    with scripted_server() as server:
        record = asyncio.run(one_rollout(server.address))
    line = encode_trajectory(record)
    tokens = sum(len(turn.token_ids or ()) for turn in record.turns)
    print(
        f"a trajectory of {len(record.turns)} turns and {tokens:,} sampled tokens, {len(line) / 1024:.0f} KB:"
    )
    with tempfile.TemporaryDirectory(prefix="rollway-bench-") as folder:
        rows = measure(record, line, count, Path(folder))
    table(["", "a second", "MB/s", "CPU us each"], rows)


async def one_rollout(address: str) -> Trajectory:
    """A real record."""
    environment = ScriptedEnvironment(count=1)
    async with ChatClient(address + SCRIPT.path, "scripted") as client, ToolPool(1) as pool:
        return await run_rollout(environment, environment.tasks("test")[0], client=client, pool=pool)


def measure(record: Trajectory, line: bytes, count: int, folder: Path) -> list[list[str]]:
    asked = Asked(address="http://127.0.0.1:1", path="", rollouts=count, in_flight=1)
    config = settings(asked, folder)
    path = folder / "run"

    def write() -> None:
        with open_run(path, config) as run:
            for index in range(count):
                run.append((f"{index:06d}", 0), encode_trajectory(record))

    def take_stock() -> None:
        with open_run(path, config) as run:
            run.take_stock(Wanted(lambda key: True))

    def read() -> None:
        assert sum(1 for _ in read_trajectories(path)) == count

    def write_bytes() -> None:
        with (folder / "bare").open("wb", buffering=0) as file:
            for _ in range(count):
                file.write(line + b"\n")
            os.fsync(file.fileno())

    def read_bytes() -> None:
        for part in part_files(path):
            with part.open("rb") as file:
                assert sum(1 for _ in file) > 0

    def repeat(action: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(count):
                action()

        return run

    cases: list[tuple[str, Callable[[], None]]] = [
        ("encoded", repeat(lambda: encode_trajectory(record))),
        ("decoded", repeat(lambda: decode_trajectory(line))),
        ("encoded and stored in a run directory", write),
        ("the same bytes written to a file", write_bytes),
        ("read back from a run directory", read),
        ("the same lines read from a file", read_bytes),
    ]
    rows = [_timed(name, action, count, len(line)) for name, action in cases]
    _with_own_keys(path, record)
    return [*rows, _timed("looked through when a run goes on", take_stock, count, len(line))]


def _with_own_keys(path: Path, record: Trajectory) -> None:
    """Give each stored line a task of its own, as in a real run."""
    number = 0
    for part in part_files(path):
        lines = part.read_bytes().splitlines(keepends=True)
        with part.open("wb") as file:
            for line in lines:
                task = b'"task_id":"%06d"' % number
                file.write(line.replace(b'"task_id":"%s"' % record.task_id.encode(), task, 1))
                number += 1


def _timed(name: str, action: Callable[[], None], count: int, size: int) -> list[str]:
    cpu, wall = time.process_time(), time.perf_counter()
    action()
    spent, seconds = time.process_time() - cpu, time.perf_counter() - wall
    rate = count / seconds
    return [name, f"{rate:,.0f}", f"{rate * size / 2**20:,.0f}", f"{spent / count * 1e6:.0f}"]
