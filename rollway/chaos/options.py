"""What ``rollway chaos`` is asked for: which faults, how often, in words that a user gives.

The invariant: a word that names no fault is refused in one line, with the nearest that does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rollway.chaos.faults import FAULTS, GROUPS, RATES, TIMES, Plan
from rollway.chaos.processes import can_be_found
from rollway.errors import UserError, nearest

NEEDS_WORKERS = "workers"


def planned_faults(seed: int, faults: str, rates: Sequence[str], *, workers: int) -> Plan:
    """The plan of a run.

    Args:
        faults: groups and single faults with commas between them, or "all" or "none".
        rates: "group=number" each.
        workers: processes of the run; without any, their faults are left out of "all".

    Raises:
        UserError: a word names no fault, or a rate is none.
    """
    kinds = _kinds(faults, workers)
    given = dict(map(_rate, rates))
    for group in given:
        if group not in kinds:
            raise UserError(f"--rate {group}: --faults {faults} leaves this group out; add it there")
    if "workers" in kinds and not workers:
        raise UserError("--faults workers: there are none with --workers 0; set --workers to at least 1")
    if "workers" in kinds and not can_be_found():
        raise UserError("--faults workers: their processes are found in /proc, which this system lacks")
    return Plan(seed=seed, rates={group: given.get(group, RATES[group]) for group in kinds}, kinds=kinds)


def _kinds(faults: str, workers: int) -> dict[str, list[str]]:
    """The kinds of each group that is asked for."""
    words = [word.strip() for word in faults.split(",") if word.strip()]
    if words == ["none"]:
        return {}
    if words == ["all"]:
        words = [group for group in GROUPS if group != "workers" or (workers and can_be_found())]
    found: dict[str, list[str]] = {}
    for word in words:
        if word not in GROUPS and word not in FAULTS:
            known = [*GROUPS, *FAULTS, "all", "none"]
            raise UserError(
                f"--faults: no fault is named {word!r}{nearest(word, known)}; groups are {', '.join(GROUPS)}"
            )
        group = word.partition(".")[0]
        chosen = [word] if word in FAULTS else [fault.name for fault in GROUPS[word] if fault.unasked]
        kinds = found.setdefault(group, [])
        kinds += [name.partition(".")[2] for name in chosen if name.partition(".")[2] not in kinds]
    return found


def _rate(text: str) -> tuple[str, float]:
    group, equals, number = text.partition("=")
    if not equals or group not in GROUPS:
        raise UserError(
            f"--rate {text}: give GROUP=RATE, such as replies=0.2{nearest(group, GROUPS)}; "
            f"groups are {', '.join(GROUPS)}"
        )
    try:
        rate = float(number)
    except ValueError:
        raise UserError(f"--rate {text}: {number!r} is no number") from None
    if not math.isfinite(rate) or rate < 0 or (rate > 1 and group not in TIMES):
        bounds = "of at least 0" if group in TIMES else "from 0 to 1"
        raise UserError(f"--rate {text}: the rate of {group} must be a number {bounds}")
    return group, rate
