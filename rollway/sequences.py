"""From turns to what a trainer reads, and back to whole prompts.

The invariant: every sampled token of every trainable turn stands in exactly one sequence with mask 1, in
the very context it was sampled in. Text is never tokenised here; only ids that a server gave are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rollway.trajectory import TokenSequence, Turn, Untrainable


def shared_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading ids are equal."""
    bound = min(len(left), len(right))
    if left[:bound] == right[:bound]:
        return bound
    low, high = 0, bound  # left[:low] == right[:low], and the first difference lies before `high`
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low


def whole_prompts(turns: Sequence[Turn]) -> Iterator[list[int] | None]:
    """The whole prompt of each turn in order; ``None`` where the server gave no prompt ids.

    Raises:
        ValueError: a turn shares more ids than the turn before it has.
    """
    before: list[int] = []
    for turn in turns:
        if turn.prompt_token_ids is None:
            before = []
            yield None
            continue
        if turn.prompt_shared > len(before):
            raise ValueError(
                f"turn {turn.index} shares {turn.prompt_shared} ids, the turn before has {len(before)}"
            )
        prompt = before[: turn.prompt_shared] + turn.prompt_token_ids
        yield prompt
        before = prompt + (turn.token_ids or [])


def untrainable_reason(turn: Turn) -> Untrainable | None:
    """Why a turn's tokens can stand in no sequence, or ``None`` when they can."""
    if turn.token_ids is None:
        return Untrainable.NO_TOKEN_IDS
    if turn.prompt_token_ids is None:
        return Untrainable.NO_PROMPT_TOKEN_IDS
    if turn.logprobs is not None and len(turn.logprobs) != len(turn.token_ids):
        return Untrainable.LENGTH_MISMATCH
    return None


def build_sequences(turns: Sequence[Turn]) -> list[TokenSequence]:
    """Stitch turns into sequences: a turn whose prompt extends the sequence so far continues it.

    A prompt that does not (the template dropped a thought, the history was cut) begins a new sequence, in
    which the earlier tokens stand as context with mask 0. Untrainable turns are left out and end the
    sequence before them.
    """
    runs: list[list[tuple[Turn, list[int]]]] = []
    length = 0  # ids of the open sequence; 0 when none is open
    for turn, prompt in zip(turns, whole_prompts(turns), strict=True):
        if untrainable_reason(turn) is not None or prompt is None:
            length = 0
            continue
        if length and turn.prompt_shared == length:
            runs[-1].append((turn, turn.prompt_token_ids or []))
        else:
            runs.append([(turn, prompt)])
        length = len(prompt) + len(turn.token_ids or [])
    return [_stitch(run) for run in runs]


def _stitch(run: Sequence[tuple[Turn, list[int]]]) -> TokenSequence:
    has_logprobs = all(turn.logprobs is not None for turn, _ in run)
    has_versions = any(turn.weight_version is not None for turn, _ in run)
    sequence = TokenSequence(
        token_ids=[],
        loss_mask=[],
        turn_index=[],
        logprobs=[] if has_logprobs else None,
        weight_versions=[] if has_versions else None,
    )
    for turn, context in run:
        sampled = turn.token_ids or []
        size = len(context) + len(sampled)
        sequence.token_ids += context
        sequence.token_ids += sampled
        sequence.loss_mask += [0] * len(context) + [1] * len(sampled)
        sequence.turn_index += [turn.index] * size
        if sequence.logprobs is not None:
            sequence.logprobs += [0.0] * len(context)
            sequence.logprobs += turn.logprobs or []
        if sequence.weight_versions is not None:
            sequence.weight_versions += [turn.weight_version] * size
    return sequence
