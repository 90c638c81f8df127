"""The summary as people read it in a terminal: at most 80 columns, and plain text where there is no terminal.

What weakens the score (failures, missing rollouts, tasks without enough samples) is said beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rollway.evaluation.summary import RunSummary
from rollway.evaluation.tallies import Spread
from rollway.inference.sampling_fields import shaped_by
from rollway.statistics import Estimate, PassRate
from rollway.stored.identity import CHANGED_ENVIRONMENT, CHANGED_TASKS, OTHER_WEIGHTS

Block = tuple[str, list[str]]
"""A label, and the lines that stand beside it."""

MIXED = {
    CHANGED_TASKS: "rollouts of tasks that changed (--allow-changed-tasks)",
    CHANGED_ENVIRONMENT: "rollouts of an environment that changed (--allow-changed-environment)",
    OTHER_WEIGHTS: "samples of other weights (--allow-other-weights)",
}
"""What `RunSummary.allowed` means for the numbers."""

MOST_ROWS = 8
"""Kinds of a list that are shown one by one; the others are only counted."""


def print_table(summary: RunSummary, console: Console) -> None:
    """Print the summary."""
    print_blocks(summary_blocks(summary), console)


def print_blocks(blocks: Iterable[Block], console: Console) -> None:
    """Print blocks of lines beside their labels, 80 columns wide at most. Empty blocks are left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, lines in blocks:
        for place, line in enumerate(lines):
            table.add_row("" if place else escape(label), escape(line))
    console.print(table, width=min(console.width, 80), highlight=False)


def summary_blocks(summary: RunSummary) -> list[Block]:
    """The table's lines, by label."""
    return [
        ("run", [" · ".join([*summary.environments, *summary.models]) or "no rollouts"]),
        ("rollouts", _rollouts(summary)),
        ("mixed", mixed(summary)),
        ("score", _score(summary)),
        ("rewards", _rewards(summary)),
        ("pass", _passes(summary)),
        ("stopped", count_lines(summary.stop_reasons)),
        ("tools", _tools(summary)),
        ("model", _model(summary)),
        ("sampling", [line for stated in summary.sampling for line in _sampling(stated)]),
        ("tokens", _tokens(summary)),
        ("seconds", _seconds(summary)),
        ("weights", count_lines(summary.weight_versions, "turns of ")),
    ]


def mixed(summary: RunSummary) -> list[str]:
    """What was mixed in although it is not what the run began with."""
    return [MIXED.get(what, what) for what in summary.allowed]


def _rollouts(summary: RunSummary) -> list[str]:
    asked = f"{_number(summary.tasks, 'task')} x {_number(summary.samples, 'sample')}"
    lines = [f"{summary.asked:,} requested: {asked}"]
    parts = [f"{summary.scored:,} scored"]
    parts += [f"{summary.failed:,} failed"] if summary.failed else []
    parts += [f"{summary.missing:,} missing"] if summary.missing else []
    lines.append(", ".join(parts))
    return lines + count_lines(summary.failures, "failed: ")


def _score(summary: RunSummary) -> list[str]:
    if summary.mean_reward is None:
        return ["none: no rollout was scored"]
    told = "mean reward" if summary.mean_reward.low is None else "mean reward, 95% interval"
    lines = [f"{estimate_text(summary.mean_reward)}  {told}", *doubts(summary.mean_reward)]
    if summary.mean_reward_of_asked and summary.scored < summary.asked:
        lines.append(
            f"{estimate_text(summary.mean_reward_of_asked)}  "
            f"counting {summary.asked - summary.scored:,} failed or missing as 0"
        )
    return lines


def _rewards(summary: RunSummary) -> list[str]:
    width = max((len(name) for name in summary.rewards), default=0)
    return [
        f"{name:<{width}}  {estimate_text(mean)}" + (f"  of {mean.n:,}" if mean.n != summary.scored else "")
        for name, mean in summary.rewards.items()
    ]


def _passes(summary: RunSummary) -> list[str]:
    rates = summary.pass_rates
    if not summary.scored:
        return []
    heads = [f"k={rate.k}" for rate in rates]
    lines = [
        f"{'':6}"
        + "".join(f"{head:>8}" for head in heads)
        + f"   passed: reward >= {summary.pass_threshold:g}",
        "pass@k" + "".join(f"{_mean(rate.pass_at_k):>8}" for rate in rates),
        "pass^k" + "".join(f"{_mean(rate.pass_hat_k):>8}" for rate in rates),
    ]
    return lines + [_lacking(rate, summary.tasks) for rate in rates if rate.lacking]


def _lacking(rate: PassRate, tasks: int) -> str:
    return f"k={rate.k} is unknown: {rate.lacking:,} of {tasks:,} tasks have fewer scored samples"


def _tools(summary: RunSummary) -> list[str]:
    errors = sum(sum(kinds.values()) for kinds in summary.tool_errors.values())
    if not summary.tool_calls and not errors:
        return []
    flat = {
        f"{tool or '(unreadable call)'}: {kind}": n
        for tool, kinds in summary.tool_errors.items()
        for kind, n in kinds.items()
    }
    by_size = dict(sorted(flat.items(), key=lambda item: -item[1]))
    return [f"{_number(summary.tool_calls, 'call')}, {_number(errors, 'error')}", *count_lines(by_size)]


def _model(summary: RunSummary) -> list[str]:
    if not summary.turns and not summary.retries:
        return []
    each = summary.turns / summary.finished if summary.finished else 0.0
    tries = f", retried {_number(summary.retries, 'time')}" if summary.retries else ""
    lines = [f"{_number(summary.turns, 'turn')} ({each:.1f} per rollout){tries}"]
    return lines + count_lines(summary.retries_by_error)


def _sampling(stated: Mapping[str, Any]) -> list[str]:
    changed = ", ".join(f"{name} {value}" for name, value in shaped_by(stated).items())
    if stated.get("defaults") == "server":
        said = ", ".join(f"{name} {value}" for name, value in stated.items() if name != "defaults")
        return [f"{said or 'nothing said'}; all else as the server chooses (sampling.defaults)"]
    return [changed or "the model's own distribution (temperature 1, nothing cut off)"]


def _tokens(summary: RunSummary) -> list[str]:
    prompts = f"{summary.prompt_tokens:,} in prompts"
    if summary.cached_tokens is not None and summary.prompt_tokens:
        prompts += f" ({summary.cached_tokens / summary.prompt_tokens:.0%} cached)"
    line = f"{summary.completion_tokens:,} sampled, {prompts}"
    if summary.tokens_per_second is None:
        return [line]
    return [line, f"{summary.tokens_per_second:,.0f} sampled tokens per second"]


def _seconds(summary: RunSummary) -> list[str]:
    spreads = {
        "turn": summary.turn_seconds,
        "first token": summary.first_token_seconds,
        "rollout": summary.rollout_seconds,
    }
    lines = [_spread(name, spread) for name, spread in spreads.items() if spread is not None]
    if lines:
        lines.insert(0, " " * 11 + "".join(f"{head:>9}" for head in ("mean", "p50", "p90", "p99", "max")))
    if summary.wall_seconds is None:
        return lines
    sittings = f"  in {summary.sittings} sittings" if summary.sittings > 1 else ""
    return [*lines, f"{'whole run':<11}{summary.wall_seconds:>9,.1f}{sittings}"]


def _spread(name: str, spread: Spread) -> str:
    values = (spread.mean, spread.p50, spread.p90, spread.p99, spread.max)
    return f"{name:<11}" + "".join(f"{value:>9.2f}" if value < 100 else f"{value:>9,.0f}" for value in values)


def count_lines(counts: Mapping[str, int], prefix: str = "") -> list[str]:
    """One line per kind in the order given, those past `MOST_ROWS` told together."""
    shown = list(counts.items())[:MOST_ROWS]
    rest = list(counts.values())[MOST_ROWS:]
    shown += [(f"of {len(rest)} other kinds", sum(rest))] if rest else []
    width = max((len(f"{n:,}") for _, n in shown), default=0)
    return [f"{n:>{width},} {prefix}{name}" for name, n in shown]


def estimate_text(estimate: Estimate) -> str:
    """``0.713 (0.681 to 0.745)``, or why there is no interval."""
    mean = number_text(estimate.mean)
    if estimate.low is None or estimate.high is None:
        return f"{mean} ({estimate.note or 'no interval'})"
    return f"{mean} ({number_text(estimate.low)} to {number_text(estimate.high)})"


def doubts(estimate: Estimate) -> list[str]:
    """What is wrong with an interval that there is."""
    return [estimate.note] if estimate.note and estimate.low is not None else []


def number_text(value: float) -> str:
    """Three decimals, or three digits and the power of ten where these would say nothing or fill a line."""
    plain = value == 0 or 0.0005 <= abs(value) < 1e6
    return f"{value:.3f}" if plain else f"{value:.3g}"


def _mean(estimate: Estimate | None) -> str:
    return "-" if estimate is None else number_text(estimate.mean)


def _number(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
