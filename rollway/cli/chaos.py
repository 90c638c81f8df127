"""``rollway chaos``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from rollway.errors import UserError

FAILED = 1


def chaos(
    rollouts: Annotated[int, typer.Option(min=1, metavar="N", help="Number of rollouts.")] = 500,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the policy and of the faults.")] = 0,
    workers: Annotated[
        int, typer.Option(min=0, metavar="N", help="Number of Ray worker processes; 0 runs without Ray.")
    ] = 2,
    concurrency: Annotated[
        int, typer.Option(min=1, metavar="N", help="Limit on rollouts in flight per worker.")
    ] = 32,
    faults: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Groups of faults, or single ones such as replies.502, separated by commas; all; or none.",
        ),
    ] = "all",
    rate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP=RATE",
            help="How often a group strikes. Can be given more than once.",
        ),
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Measure one promise instead: a name from the list above."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="New folder for the runs. [default: a temporary one]"),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary folder also on success.")] = False,
) -> int:
    """Break everything at random in a run, and check that its records and score are right.

    \b
    Examples:
      rollway chaos
      rollway chaos --rollouts 10000 --seed 7 --workers 2
      rollway chaos --workers 0 --faults replies,hooks --rate replies=0.5
      rollway chaos --faults driver.killed --rate driver=5 --out runs/chaos
      rollway chaos --scenario away

    Runs a scripted policy once without faults and once with them, as rollway eval does, against a model
    server of its own. The second run is resumed until nothing is missing. Then the lines on disk are compared
    with what the policy must have said: every key once, every sampled token once, one answer for each call,
    and the score equal to the last bit.

    \b
    Groups of faults, and how often they strike unless --rate says otherwise:
      replies    0.1 of the requests: 4xx, 5xx, cut or garbled bodies, hang-ups
      servers    2 times: away, or standing still
      tools      0.02 of the calls: a machine without descriptors, failing tools
      hooks      0.1 of the tasks: hooks and rewards that raise, block or hang
      sandboxes  0.3 of the tasks with a sandbox: not started, killed
      workers    2 times: killed, stopped
      driver     3 times: killed, interrupted, terminated

    \b
    Scenarios:
      away            a server away for 30 s
      still           a server that stands still for 20 s, limits.timeout 10
      admits          a server that admits 32 of 128 requests
      half-502        502 on 1/2 of the replies, cut bodies on 1/10, 429 on 1/3
      judge-away      rewards that raise once for 3 of 10 tasks
      broken-worker   one of two workers fails every rollout
      stopped-worker  one of two workers is stopped
      blocked-loop    a hook blocks the event loop of one of two workers
      one-score       several pool sizes, concurrencies and numbers of workers

    Exit codes: 0 every promise was kept; 1 one was broken; 2 usage error; 130 interrupted.
    """
    import tempfile

    from rich.console import Console

    from rollway.chaos.chaos import Chaos, run_chaos
    from rollway.chaos.options import planned_faults
    from rollway.chaos.scenarios import SCENARIOS, run_scenario
    from rollway.errors import nearest

    if scenario is not None and scenario not in SCENARIOS:
        raise UserError(
            f"--scenario: no scenario is named {scenario!r}{nearest(scenario, SCENARIOS)}; there are "
            f"{', '.join(SCENARIOS)}"
        )
    plan = planned_faults(seed, faults, rate or [], workers=workers)
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out} is not empty; give a new folder")
    path = Path(tempfile.mkdtemp(prefix="rollway-chaos-")) if out is None else out
    console = Console()
    if scenario is not None:
        held = run_scenario(scenario, seed, path, console)
    else:
        held = run_chaos(Chaos(plan, rollouts, workers, concurrency), path, console)
    _conclude(held, path, is_temporary=out is None and not keep)
    return 0 if held else FAILED


def _conclude(held: bool, path: Path, *, is_temporary: bool) -> None:
    import shutil

    if held and is_temporary:
        shutil.rmtree(path, ignore_errors=True)
        print("every promise was kept")
        return
    if held:
        print(f"every promise was kept; the runs: {path}")
        return
    again = shlex.join(["rollway", *sys.argv[1:]])
    print(f"a promise was broken; the runs: {path}\nto see it again: {again}")
