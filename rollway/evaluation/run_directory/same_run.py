"""Is it the same run? Two configs are compared by what they ask for, not by how it is done.

The invariant: a resumed run requests what it requested at its start, or more: it may grow by tasks and
samples, whose keys and seeds are those that a larger run would have had from the start.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from rollway.evaluation.config import EvalConfig

HOW_NOT_WHAT = frozenset(
    {
        "workers",
        "concurrency",
        "pool_size",
        "attempts",
        "max_failed",
        "stop_after_failures",
        "record_calls",
        "ray",
        "wandb",
        "out",
        "sandbox.warm",
        "sandbox.most",
        "model.base_url",
        "model.folder",
        "model.api_key_env",
        "model.retry",
        "model.timeouts",
        "model.wait_for_server",
        "limits.hook_timeout",
    }
)
"""Fields that change how a run executes, not what it runs; they may differ when it is resumed."""


MAY_GROW = ("tasks", "task_ids", "samples")
"""Fields that say how much is asked for: a run may be asked for more than before, never for less."""


def difference(stored: EvalConfig, config: EvalConfig) -> str | None:
    """In which field ``config`` asks for something else than the ``stored`` one, and what was and is asked
    there; ``None``: it is the same run. A model that ``config`` leaves unnamed is the stored one's."""
    old, new = stored.as_dict(), config.as_dict()
    if new["model"]["name"] is None:
        new["model"]["name"] = old["model"]["name"]
    shrunk = shrunk_field(old, new)
    field = shrunk or differing_field(old, new | {name: old[name] for name in MAY_GROW})
    if field is None:
        return None
    told = f"{field} was {_at(old, field)!r} and is now {_at(new, field)!r}"
    return f"{told} (a run can grow by tasks and samples, not shrink)" if shrunk else told


def grown(stored: EvalConfig, config: EvalConfig) -> tuple[EvalConfig, str | None]:
    """What a run that grows in one direction is asked for, where the other is given as less than it has: that
    stays as it is; and the line that says so, where it is so."""
    if stored.task_ids is not None or config.task_ids is not None:
        return config, None
    before, now = _many(stored.tasks), _many(config.tasks)
    if now > before and config.samples < stored.samples:
        told = f"samples stays {stored.samples}: the run has as many, and can only grow"
        return msgspec.structs.replace(config, samples=stored.samples), told
    if config.samples > stored.samples and now < before:
        many = "all" if stored.tasks is None else stored.tasks
        told = f"tasks stays {many}: the run has as many, and can only grow"
        return msgspec.structs.replace(config, tasks=stored.tasks), told
    return config, None


def _many(tasks: int | None) -> float:
    return math.inf if tasks is None else tasks


def shrunk_field(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """Which of `MAY_GROW` asks for less than before, or for what nobody can tell to be more."""
    if new["samples"] < old["samples"]:
        return "samples"
    if old["task_ids"] is not None:
        if new["task_ids"] is None:
            return None if new["tasks"] is None else "tasks"
        return None if set(old["task_ids"]) <= set(new["task_ids"]) else "task_ids"
    if new["task_ids"] is not None:
        return "task_ids"
    most = new["tasks"]
    return None if most is None or (old["tasks"] is not None and most >= old["tasks"]) else "tasks"


def differing_field(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> str | None:
    """The dotted name of the first field in which two resolved configs ask for different things."""
    for name in [*new, *(name for name in old if name not in new)]:
        dotted = f"{prefix}{name}"
        if dotted in HOW_NOT_WHAT:
            continue
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict) and name != "environment_args":
            found = differing_field(before, after, f"{dotted}.")
            if found:
                return found
        elif before != after:
            return dotted
    return None


def _at(values: dict[str, Any], dotted: str) -> Any:
    found: Any = values
    for name in dotted.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found
