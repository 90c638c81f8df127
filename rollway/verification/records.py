"""What a verification found: plain numbers and names, that can be written as JSON."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Mismatch(StrEnum):
    """How a turn's record and the sequences that a trainer reads contradict each other."""

    PROMPT = "prompt_cannot_be_rebuilt"  # it shares more ids with the turn before than that one has
    PROMPT_LENGTH = "prompt_length"  # the server counted another number of prompt tokens
    NOT_IN_ONE_SEQUENCE = "not_in_one_sequence"  # its sampled tokens stand in none, in pieces, or twice
    OTHER_TOKENS = "other_tokens"  # the sequence has other ids, logprobs or weight versions than the turn
    OTHER_CONTEXT = "other_context"  # what stands before its tokens in the sequence is not its prompt
    UNTRAINABLE_TRAINED = "untrainable_trained"  # it names a reason not to be trained on, and has mask 1
    MALFORMED = "malformed_sequence"  # lists of different lengths, a mask that is not 0 or 1, an unknown turn


class Begun(StrEnum):
    """How a sequence begins."""

    FIRST = "first"  # with the first turn
    REALIGNED = "realigned"  # with a prompt that spells the same text in other ids
    FORKED = "forked"  # with a prompt whose text is another
    AFTER_UNTRAINABLE = "after_untrainable"  # the turn before cannot be trained on


class Unchecked(StrEnum):
    """Why a sampled token in a sequence was not recomputed."""

    NO_LOGPROBS = "no_logprobs"  # the record has none
    OTHER_VERSION = "other_version"  # sampled by other weights than those asked for, or by uncertain ones
    CONTEXT_OVERFLOW = "context_overflow"  # the server's context is too short for the sequence
    MALFORMED = "malformed_sequence"


class TurnMismatch(msgspec.Struct, frozen=True):
    """One turn (or one sequence, where ``turn`` is None) that is not what it says."""

    trajectory_id: str
    task_id: str
    sample_index: int
    turn: int | None  # 0-based
    kind: Mismatch
    detail: str
    tokens: int  # sampled in that turn; 0 for a sequence, whose turns are told of by themselves


class TokenDifference(msgspec.Struct, frozen=True):
    """One token whose recomputed logprob differs much."""

    trajectory_id: str
    task_id: str
    sample_index: int
    turn: int  # 0-based
    offset: int  # among the turn's sampled tokens, 0-based
    token_id: int
    recorded: float
    recomputed: float


class Differences(msgspec.Struct, frozen=True):
    """How recomputed logprobs differ from the recorded ones, in nats. ``d`` is recomputed - recorded."""

    tokens: int
    largest: float | None = None  # of |d|; None, like all below, without a token
    mean: float | None = None  # of |d|
    p99: float | None = None  # of |d|, 99% of the tokens lie below
    bias: float | None = None  # mean of d
    kl: float | None = None
    """Mean of exp(d) - 1 - d, Schulman's k3 (2020, "Approximating KL Divergence"): an unbiased estimate of
    KL(sampling policy || recomputed policy) per token where tokens were drawn from the very distribution
    that the logprobs are of. None where it is past the largest number."""


class CutCount(msgspec.Struct, frozen=True):
    """How many tokens lay beyond a cut."""

    cut: str  # "top_k 20": beyond the 20 likeliest; "repeated": already in the context
    expected: float  # the mass there, summed over all tokens
    drawn: int
    tail: float
    """Chernoff's bound of the Poisson-binomial tail: the chance that so few are drawn. Of this cut alone."""


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """Whether tokens were drawn from the distribution on record. See `rollway.verification.drawn`."""

    tokens: int  # that were tested
    untested: dict[str, int]  # the others, by reason
    likeliest: int  # tokens whose logprobs the server gave at each place; 0: none, so that nothing was tested
    p_value: float = (
        1.0  # at most the chance that an honest run shows as much; all cuts and temperatures in one
    )
    suspicion: str | None = None  # what gives it away, where the p-value is too small
    cuts: list[CutCount] = []
    surprise: float = (
        0.0  # mean of -log p over the tokens, nats; tokens beyond the likeliest count as the last
    )
    entropy: float = 0.0  # what it should be
    standard_error: float = 0.0  # of their difference
    temperature: float = 1.0  # the likeliest of those tried, as a factor of the stated one


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What is still sound, in nats; ``None`` is no bound."""

    largest: float | None = None
    mean: float | None = None
    p99: float | None = None


EMBEDDED_BOUNDS = Bounds(largest=1e-4, mean=1e-5)
"""For the embedded server: float32, and the same code that sampled."""

SERVER_BOUNDS = Bounds(mean=0.02, p99=0.2)
"""For any other server: room for bf16, where a token that was sampled in a batch of one is computed again in
a prompt. No bound on the largest: one unlikely token may be off by much."""


class VerificationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked, and what came of it."""

    run: str
    server: str
    model: str
    bounds: Bounds
    notes: list[str]  # what must be known to read the numbers

    trajectories: int
    turns: int
    sampled_tokens: int  # of all kept turns
    dropped_stops: int  # sampled stop tokens that the record took off, see `Turn.dropped_stop`
    untrainable_turns: dict[str, int]  # by reason
    untrainable_tokens: int

    turns_by_fit: dict[str, int]  # how prompts follow the turn before: "extended", "forked: rerendered", ...
    sequences: dict[str, int]  # by `Begun`
    sequence_tokens: int  # sampled tokens that stand in sequences

    unchecked: dict[str, int]  # tokens by `Unchecked`
    differences: Differences
    by_version: dict[str, Differences]  # "" where no version is named
    suspect_turns: int  # mean |d| above ten times the bound on the mean
    suspect_from_start: int  # those of them whose first token is off by as much
    worst: list[TokenDifference]  # largest first
    drawn: Drawn

    mismatches: dict[str, int]  # turns or sequences by `Mismatch`
    mismatched_tokens: int  # sampled tokens whose context, place or labels are not what the record says
    examples: list[TurnMismatch]
    seconds: float

    @property
    def failures(self) -> list[str]:
        """Why the run is not sound, one line each; empty when it is."""
        told = []
        if self.mismatches:
            told.append(f"{sum(self.mismatches.values()):,} context mismatches")
        told += self.exceeded
        if self.drawn.suspicion is not None:
            told.append(
                f"not drawn from the distribution on record: {self.drawn.suspicion} (an honest run shows as "
                f"much {_once_in(self.drawn.p_value)})"
            )
        if not self.differences.tokens:
            told.append("no token was checked")
        return told

    @property
    def exceeded(self) -> list[str]:
        """Which differences are above their bounds, one line each."""
        found = self.differences
        told = []
        for name, value, bound in (
            ("largest difference", found.largest, self.bounds.largest),
            ("mean difference", found.mean, self.bounds.mean),
            ("99th percentile", found.p99, self.bounds.p99),
        ):
            if value is not None and bound is not None and not value <= bound:
                told.append(f"{name} {value:.2g} exceeds the limit {bound:g}")
        return told


def _once_in(p_value: float) -> str:
    return f"once in {1 / p_value:,.0f}" if p_value > 1e-12 else "less than once in a million million"
