"""A verification as people read it in a terminal. What makes the run unsound stands last."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from rollway.evaluation.table import count_lines, print_blocks
from rollway.verification.records import Differences, Drawn, TokenDifference, TurnMismatch, VerificationReport

MOST_MISMATCHES = 3
"""That are shown one by one."""


def print_report(report: VerificationReport, console: Console) -> None:
    """Print what was found."""
    print_blocks(
        [
            ("run", [f"{report.run or 'trajectories'}: {report.trajectories:,} rollouts"]),
            ("policy", [f"{report.model} at {report.server}", *report.notes]),
            ("tokens", _tokens(report)),
            ("contexts", _contexts(report)),
            ("turns", [f"{report.turns:,} turns", *count_lines(report.turns_by_fit, "prompts ")]),
            ("sequences", _sequences(report)),
            ("logprobs", _differences(report)),
            ("versions", _versions(report.by_version)),
            ("drawn", _drawn(report.drawn)),
            ("worst", [_token(token) for token in report.worst] if report.exceeded else []),
            ("verdict", report.failures or ["sound"]),
        ],
        console,
    )


def _tokens(report: VerificationReport) -> list[str]:
    lines = [f"{report.sampled_tokens:,} sampled, {report.differences.tokens:,} recomputed"]
    lines += count_lines(report.unchecked, "not recomputed: ")
    lines += count_lines(report.untrainable_turns, "turns not trainable: ")
    if report.untrainable_tokens:
        lines.append(f"{report.untrainable_tokens:,} sampled tokens in them")
    if report.dropped_stops:
        lines.append(f"{report.dropped_stops:,} stop tokens dropped from sequences")
    return lines


def _contexts(report: VerificationReport) -> list[str]:
    total = sum(report.mismatches.values())
    lines = [f"{total:,} mismatches, {report.mismatched_tokens:,} sampled tokens in them"]
    lines += count_lines(report.mismatches)
    return lines + [_mismatch(example) for example in report.examples[:MOST_MISMATCHES]]


def _mismatch(example: TurnMismatch) -> str:
    turn = "" if example.turn is None else f", turn {example.turn + 1}"
    return f"{example.task_id} sample {example.sample_index}{turn}: {example.detail}"


def _sequences(report: VerificationReport) -> list[str]:
    total = sum(report.sequences.values())
    lines = [f"{total:,} sequences, {report.sequence_tokens:,} sampled tokens in them"]
    return lines + count_lines(report.sequences, "begun: ")


def _differences(report: VerificationReport) -> list[str]:
    found = report.differences
    if found.largest is None or found.mean is None or found.p99 is None:
        return []
    bounds = report.bounds
    lines = [
        "|recomputed - recorded|, in nats:",
        f"largest {found.largest:.2e}{_bound(bounds.largest)}",
        f"mean    {found.mean:.2e}{_bound(bounds.mean)}",
        f"99%     {found.p99:.2e}{_bound(bounds.p99)}",
        f"KL {_number(found.kl)} per token (k3), mean difference {_number(found.bias)}",
    ]
    if report.suspect_turns:
        lines.append(
            f"{report.suspect_turns:,} turns differ widely, {report.suspect_from_start:,} of them from "
            "their first token"
        )
    return lines


SHOWN_CUTS = ("top_p 0.95", "min_p 0.05")
"""Beside the last top_k. All of them stand in the JSON."""


def _drawn(found: Drawn) -> list[str]:
    untested = count_lines(found.untested, "not tested: ")
    if not found.tokens:
        return untested
    shown = (f"top_k {found.likeliest}", *SHOWN_CUTS)
    lines = [f"{found.tokens:,} tokens tested, with the {found.likeliest} likeliest at each place", *untested]
    lines += [
        f"{cut.drawn:,} beyond {cut.cut}, {cut.expected:,.1f} expected"
        for cut in found.cuts
        if cut.cut in shown
    ]
    lines.append(
        f"surprise {found.surprise:.4f} nats a token, entropy {found.entropy:.4f} "
        f"(standard error {found.standard_error:.4f})"
    )
    return [*lines, f"p = {found.p_value:.2g} that an honest run looks as unlikely"]


def _bound(bound: float | None) -> str:
    return "" if bound is None else f"  (limit {bound:g})"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2e}"


def _versions(by_version: Mapping[str, Differences]) -> list[str]:
    if len(by_version) < 2:
        return []
    return [
        f"{name or '(not named)'}: {found.tokens:,} tokens, mean {_number(found.mean)}, "
        f"largest {_number(found.largest)}"
        for name, found in by_version.items()
    ]


def _token(token: TokenDifference) -> str:
    return (
        f"{token.task_id} sample {token.sample_index}, turn {token.turn + 1}, token {token.offset + 1} "
        f"(id {token.token_id}): recorded {token.recorded:.4f}, recomputed {token.recomputed:.4f}"
    )
