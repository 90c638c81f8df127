"""From turns to what a trainer reads, and back to whole prompts.

The invariant: every sampled token of every trainable turn stands in exactly one sequence with mask 1, in
the very context it was sampled in. Text is never tokenised here; only ids that a server gave are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rollway.trajectory import (
    DroppedToken,
    FitReason,
    PromptFit,
    TokenSequence,
    Turn,
    Untrainable,
    VersionSpan,
)

Decode = Callable[[Sequence[int]], str]
"""Ids to text, special tokens included."""


def shared_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading ids are equal."""
    bound = min(len(left), len(right))
    if (left if len(left) == bound else left[:bound]) == right[:bound]:
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
        prompt = _with_prompt(before, turn)
        yield prompt
        before = prompt + (turn.token_ids or [])


class PromptChain:
    """The ids of one conversation while turns are added to it: what the next prompt should begin with.

    ``decode`` tells prompts that only split the same text otherwise from those whose text is another.
    """

    def __init__(self, decode: Decode | None = None) -> None:
        # The last turn's whole prompt and sampled ids: replaced by each turn, never changed, as requests
        # in flight hold it.
        self.token_ids: list[int] = []
        self.sampled: int | None = None  # how many of them, at the end, were sampled; None: not known
        self._decode = decode

    def add(self, turn: Turn, prompt: list[int] | None, *, rerendered: bool = False) -> None:
        """Enter a turn whose sampled ids are set: fill in its prompt and how that follows the turn before.

        ``rerendered``: the client made this prompt anew from the messages.
        """
        if prompt is None:
            self.token_ids, self.sampled = [], None
            return
        turn.prompt_shared = shared_prefix(self.token_ids, prompt)
        turn.prompt_token_ids = prompt[turn.prompt_shared :]
        if self.sampled is not None:
            fit, reason = fit_of_prompt(
                self.token_ids, self.sampled, prompt, turn.prompt_shared, self._decode
            )
            if rerendered and fit is not PromptFit.EXTENDED:
                fit, reason = PromptFit.FORKED, FitReason.RERENDERED
            turn.prompt_fit, turn.prompt_fit_reason = fit, reason
        self.token_ids = prompt + (turn.token_ids or [])
        self.sampled = None if turn.token_ids is None else len(turn.token_ids)

    def go_on(self, turns: Sequence[Turn]) -> None:
        """Take up a conversation after ``turns``, which are not changed."""
        for turn, prompt in zip(turns, whole_prompts(turns), strict=True):
            self.token_ids = [] if prompt is None else prompt + (turn.token_ids or [])
            self.sampled = None if prompt is None or turn.token_ids is None else len(turn.token_ids)

    def drop_stop(self, turn: Turn) -> None:
        """Take the last sampled id off the turn that was added last: ids, logprobs and versions together.

        Raises:
            ValueError: the turn has no sampled id.
        """
        ids = turn.token_ids
        if not ids or not self.sampled:
            raise ValueError(f"turn {turn.index} has no sampled token to drop")
        paired = turn.logprobs is not None and len(turn.logprobs) == len(ids)
        turn.dropped_stop = DroppedToken(ids[-1], turn.logprobs[-1] if turn.logprobs and paired else None)
        turn.token_ids = ids[:-1]
        if turn.logprobs is not None and paired:
            turn.logprobs = turn.logprobs[:-1]
        turn.weight_versions = clamp_spans(turn.weight_versions, len(turn.token_ids))
        self.token_ids = self.token_ids[:-1]
        self.sampled -= 1


def fit_of_prompt(
    before: Sequence[int], sampled: int, prompt: Sequence[int], shared: int, decode: Decode | None = None
) -> tuple[PromptFit, FitReason | None]:
    """How ``prompt`` follows ``before``, whose last ``sampled`` ids were sampled; ``shared`` lead both.

    Without ``decode`` texts cannot be compared, and a prompt that parts before the last id is forked. So is
    one whose text cannot be told, because a character is split where the two part.
    """
    if shared == len(before):
        return PromptFit.EXTENDED, None
    old, new = before[shared:], prompt[shared:]
    if decode is not None and _spells_on(decode(new), decode(old)):
        return PromptFit.REALIGNED, FitReason.OTHER_SPLIT
    if sampled and shared == len(before) - 1:
        return PromptFit.REALIGNED, FitReason.OTHER_END
    if sampled and decode is not None and _spells_on(decode(new), decode(old[:-1])):
        return PromptFit.REALIGNED, FitReason.OTHER_END
    changed = FitReason.HISTORY_CHANGED if shared < len(before) - sampled else FitReason.REPLY_REWRITTEN
    return PromptFit.FORKED, changed


_HEAD = 16  # ids; so many do not stand together twice by chance


def cut_in_prompt(
    before: Sequence[int], sampled: int, prompt: Sequence[int], *, thoughts: bool
) -> str | None:
    """How one can tell that a server cut a prompt of a conversation that only grew; None: one cannot.

    ``before`` is the whole prompt of the turn before and the ``sampled`` ids behind it. ``thoughts``: a chat
    template may have taken thoughts out of what was said, so that a shorter prompt proves nothing.
    """
    longer = len(before) - sampled
    if longer < 2 * _HEAD:
        return None
    if not thoughts and len(prompt) <= longer:
        return f"a prompt of {len(prompt)} tokens follows one of {longer}, and has more messages"
    head = list(prompt[:_HEAD])
    if len(head) < _HEAD or list(before[:_HEAD]) == head:
        return None
    for start in range(1, len(before) - _HEAD + 1):
        if before[start] == head[0] and list(before[start : start + _HEAD]) == head:
            return f"a prompt begins with what stood {start} tokens behind the beginning of the one before"
    return None


def _spells_on(text: str, beginning: str) -> bool:
    return bool(beginning) and text.startswith(beginning) and "\ufffd" not in beginning


def count_fits(turns: Sequence[Turn]) -> dict[str, float]:
    """How many turns follow the one before in which way, and how many have an uncertain weight version.

    Empty where nothing is known.
    """
    counts: dict[str, float] = {}
    fits = [turn.prompt_fit for turn in turns if turn.prompt_fit is not None]
    if fits:
        counts |= {f"turns_{fit.value}": float(fits.count(fit)) for fit in PromptFit}
    versions = [turn.weight_versions for turn in turns if turn.weight_versions]
    if versions:
        uncertain = sum(any(span.until is not None for span in spans) for spans in versions)
        counts["turns_version_uncertain"] = float(uncertain)
    return counts


def clamp_spans(spans: Sequence[VersionSpan], length: int) -> list[VersionSpan]:
    """The spans of the first ``length`` tokens."""
    return [
        VersionSpan(span.version, span.start, min(span.end, length), span.until)
        for span in spans
        if span.start < length
    ]


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
    ids: list[int] = []  # the whole prompt and the sampled ids of the turn before; grows in place
    open_run = False
    for turn in turns:
        if turn.prompt_token_ids is None:
            ids, open_run = [], False
            continue
        extends = turn.prompt_shared == len(ids)
        open_run = open_run and extends
        ids = _with_prompt(ids, turn)
        if turn.untrainable is not None or untrainable_reason(turn) is not None:
            open_run = False
        elif open_run:
            runs[-1].append((turn, turn.prompt_token_ids))
        else:
            runs.append([(turn, ids.copy())])
            open_run = True
        ids += turn.token_ids or []
    return [_stitch(run) for run in runs]


def _with_prompt(before: list[int], turn: Turn) -> list[int]:
    """A turn's whole prompt, in the list of the turn before where it extends that one."""
    if turn.prompt_shared > len(before):
        raise ValueError(
            f"turn {turn.index} shares {turn.prompt_shared} ids, the turn before has {len(before)}"
        )
    if turn.prompt_shared < len(before):
        before = before[: turn.prompt_shared]
    before += turn.prompt_token_ids or []
    return before


def _stitch(run: Sequence[tuple[Turn, list[int]]]) -> TokenSequence:
    has_logprobs = all(turn.logprobs is not None for turn, _ in run)
    has_versions = any(turn.weight_version is not None or turn.weight_versions for turn, _ in run)
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
            sequence.weight_versions += _versions(turn, len(context))
    return sequence


def _versions(turn: Turn, context: int) -> list[str | None]:
    """The version of each of a turn's new tokens; its context counts as read by the first of them."""
    sampled = len(turn.token_ids or [])
    if not turn.weight_versions:
        return [turn.weight_version] * (context + sampled)
    versions: list[str | None] = [None] * sampled
    for span in clamp_spans(turn.weight_versions, sampled):
        if span.until is None:
            versions[span.start : span.end] = [span.version] * (span.end - span.start)
    first = turn.weight_versions[0]
    return [None if first.until is not None else first.version] * context + versions
