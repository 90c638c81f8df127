"""Many short rollouts through one driver and its Ray workers: memory stays flat, none is lost or doubled."""

from __future__ import annotations

from benchmarks.engine import WARM_UP
from benchmarks.options import parser, table
from benchmarks.runs import run_program
from benchmarks.script import Script
from benchmarks.serving import scripted_server

FULL = 100_000
QUICK = 2_000
SETTLED = 5_000  # rollouts after which memory is to be flat
SHOWN = 12  # lines
SCRIPT = Script(tokens=32, turns=1)


def main(argv: list[str]) -> None:
    made = parser("soak", __doc__ or "")
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--in-flight", type=int, default=256)
    options = made.parse_args(argv)
    count = options.rollouts or (FULL if options.full else QUICK)
    every = max(100, min(1_000, count // 20))
    with scripted_server() as server:
        told = run_program(
            server,
            "benchmarks.engine",
            SCRIPT,
            count,
            options.in_flight,
            warm_up=WARM_UP * options.workers,
            workers=options.workers,
            sample_every=every,
            watch=False,
        )
    samples = [sample for sample in told["samples"] if sample[2] and all(sample[2])]  # workers that live
    cpu = (told["cpu_s"] + told["workers_cpu_s"] + told["ray_cpu_s"]) / count * 1e3
    print(
        f"{count:,} rollouts of {SCRIPT.turns + 1} replies of {SCRIPT.tokens} tokens, "
        f"{options.in_flight} in flight, {options.workers} workers:\n"
        f"{told['wall_s']:,.0f} s, {count / told['wall_s']:,.0f} rollouts/s, {cpu:.2f} ms of CPU each; "
        f"each of them once on disk with reward 1;\n"
        f"memory without the pages of Ray's object store, which the processes share:"
    )
    step = max(1, len(samples) // SHOWN)
    shown = samples[::step] + ([samples[-1]] if (len(samples) - 1) % step else [])
    heads = ["rollouts on disk", "driver", *(f"worker {number + 1}" for number in range(options.workers))]
    table(
        heads, [[f"{done:,}", *(_mb(size) for size in (driver, *workers))] for done, driver, workers in shown]
    )
    settled = [sample for sample in samples if sample[0] >= SETTLED]
    if len(settled) < 2:
        print(f"too few rollouts to say anything about memory after the first {SETTLED:,}")
        return
    (begin, driver, workers), (end, driver_end, workers_end) = settled[0], settled[-1]
    growth = [
        (after - before) / 2**20
        for before, after in zip((driver, *workers), (driver_end, *workers_end), strict=True)
    ]
    grown = ", ".join(f"{change:+.1f} MB" for change in growth)
    print(f"from rollout {begin:,} to {end:,} driver and workers grew by {grown}")


def _mb(size: int) -> str:
    return f"{size / 2**20:,.1f} MB"
