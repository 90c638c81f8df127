"""Is it the same run? Two configs are compared by what they ask for, not by how it is done.

The invariant: a resumed run requests exactly what it requested at its start.
"""

from __future__ import annotations

from typing import Any

from rollway.evaluation.config import EvalConfig

HOW_NOT_WHAT = frozenset(
    {
        "workers",
        "concurrency",
        "pool_size",
        "attempts",
        "max_failed",
        "stop_after_failures",
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
    }
)
"""Fields that change how a run executes, not what it runs; they may differ when it is resumed."""


def difference(stored: EvalConfig, config: EvalConfig) -> str | None:
    """In which field ``config`` asks for something else than the ``stored`` one, and what was and is asked
    there; ``None``: it is the same run. A model that ``config`` leaves unnamed is the stored one's."""
    old, new = stored.as_dict(), config.as_dict()
    if new["model"]["name"] is None:
        new["model"]["name"] = old["model"]["name"]
    field = differing_field(old, new)
    return None if field is None else f"{field} was {_at(old, field)!r} and is now {_at(new, field)!r}"


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
