"""One sample of one request while it runs, and what is told about it when it has something new."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from rollway.embedded.prefix_cache import Prefix, block_hashes
from rollway.embedded.sampling import Sampled, SamplingParams, score
from rollway.embedded.slots import Slots
from rollway.embedded.tokenizer import GrowingText, Tokenizer
from rollway.embedded.weights import Array

Candidates = list[tuple[int, float]]
"""Most likely tokens with their logprobs, the likeliest first."""


class GenerationRequest(msgspec.Struct, eq=False):
    """A prompt and how to go on from it. Told apart by identity."""

    id: str
    prompt: list[int]
    params: SamplingParams
    stream: bool = False  # an output for every token rather than one at the end
    receiver: Any = None  # whoever gets the outputs; the engine does not look at it


class PromptToken(msgspec.Struct, frozen=True):
    """How likely a token of the prompt was."""

    token: int
    logprob: float
    rank: int
    top: Candidates


class Output(msgspec.Struct):
    """News of one sample: since the last output when streamed, else everything."""

    request: GenerationRequest
    index: int  # of the sample within its request
    text: str
    token_ids: list[int]
    logprobs: list[float] | None  # None when not asked for
    ranks: list[int] | None
    top: list[Candidates] | None  # per token; None when not asked for
    finish_reason: str | None  # None: more will follow
    stop_reason: int | str | None  # the stop string or token id; None for the end-of-turn token
    cached_tokens: int  # of the prompt, whose keys and values were already there
    prompt_scores: list[PromptToken] | None  # from the second token on; None when not asked for


class Sequence:
    """State of one sample that is not in the slots' arrays."""

    def __init__(
        self,
        request: GenerationRequest,
        index: int,
        generator: np.random.Generator,
        tokenizer: Tokenizer,
    ) -> None:
        params = request.params
        self.request = request
        self.params = params
        self.index = index
        self.generator = generator
        self.prompt = np.array(request.prompt, np.int64)
        self.hashes = block_hashes(self.prompt)
        self.slot = -1  # while it waits
        self.computed = 0  # tokens of the prompt whose keys and values are there
        self.cached = 0  # of those, how many came from the prefix cache
        self.parent: Prefix | None = None  # where they came from
        self.prefix: Prefix | None = None  # this sequence, once its prompt is computed
        self.prompt_scores: list[PromptToken] | None = None if params.prompt_logprobs is None else []
        self.top: list[Candidates] | None = [] if params.logprobs else None
        self.given = 0  # sampled tokens that were put out
        self.text: GrowingText | None = None
        self._tokenizer = tokenizer
        if request.stream or params.stop:
            self.text = self._new_text()

    def _new_text(self) -> GrowingText:
        params = self.params
        return GrowingText(
            skipped=self._tokenizer.special_ids if params.skip_special_tokens else frozenset(),
            stop=params.stop,
            include_stop=params.include_stop_str_in_output,
            min_tokens=params.min_tokens,
        )

    def end_tokens(self, tokenizer: Tokenizer) -> list[int]:
        """Ids that end this sample."""
        ids = list(self.params.stop_token_ids)
        if not self.params.ignore_eos:
            ids += [*tokenizer.extra_stop_ids, *([] if tokenizer.eos_id is None else [tokenizer.eos_id])]
        return ids

    def stop_reason(self, token: int) -> int | None:
        """What a reply says about the token that ended it: nothing for the usual one."""
        usual = token == self._tokenizer.eos_id and not self.params.ignore_eos
        return None if usual else token

    def read(self, token: int, *, ends: bool) -> str | None:
        """Add a sampled token to the text. Returns the stop string that it completed."""
        if self.text is None or (ends and not self.params.include_stop_str_in_output):
            return None
        return self.text.add(token, self._tokenizer.bytes_of(token))

    def keep_top(self, row: int, sampled: Sampled | None) -> None:
        """Note the candidates of a new token."""
        if self.top is None:
            return
        assert sampled is not None
        assert sampled.top_tokens is not None
        assert sampled.top_logprobs is not None
        self.top.append(_candidates(sampled, row, self.params.logprobs or 0))

    def score_prompt(self, logits: Array, start: int) -> None:
        """Score the prompt's tokens that follow those at ``start`` and after.

        Args:
            logits: (tokens, vocab), the first for the token at position ``start``.
        """
        following = self.prompt[start + 1 : start + 1 + len(logits)]
        top = self.params.prompt_logprobs or 0
        scores = score(logits[: len(following)], following, top=top)
        assert self.prompt_scores is not None
        for row in range(len(following)):
            self.prompt_scores.append(
                PromptToken(
                    int(following[row]),
                    float(scores.logprobs[row]),
                    int(scores.ranks[row]),
                    _candidates(scores, row, top),
                )
            )

    def final_text(self, tokens: list[int], *, ended: bool) -> str:
        """The text of a sample that was not followed token by token."""
        shown = tokens[:-1] if ended and not self.params.include_stop_str_in_output else tokens
        return self._tokenizer.decode(shown, skip_special_tokens=self.params.skip_special_tokens)


def _candidates(sampled: Sampled, row: int, count: int) -> Candidates:
    if sampled.top_tokens is None or sampled.top_logprobs is None:
        return []
    tokens, logprobs = sampled.top_tokens[row, :count], sampled.top_logprobs[row, :count]
    return list(zip(tokens.tolist(), logprobs.tolist(), strict=True))


def make_output(
    sequence: Sequence, slots: Slots, last: bool, finish_reason: str | None, stop_reason: int | str | None
) -> Output:
    """What a sample has that was not put out yet. A sample that still waits has nothing."""
    where = slots.sampled(sequence.slot) if sequence.slot >= 0 else slice(0, 0)
    new = slice(where.start + sequence.given, where.stop)
    tokens: list[int] = slots.tokens[sequence.slot, new].tolist()
    scored = sequence.params.logprobs is not None
    output = Output(
        request=sequence.request,
        index=sequence.index,
        text=_new_text(sequence, tokens, last, finish_reason, stop_reason),
        token_ids=tokens,
        logprobs=slots.logprobs[sequence.slot, new].tolist() if scored else None,
        ranks=slots.ranks[sequence.slot, new].tolist() if scored else None,
        top=None if sequence.top is None else sequence.top[sequence.given :],
        finish_reason=finish_reason,
        stop_reason=stop_reason,
        cached_tokens=sequence.cached,
        prompt_scores=sequence.prompt_scores,
    )
    sequence.given += len(tokens)
    return output


def _new_text(
    sequence: Sequence,
    tokens: list[int],
    last: bool,
    finish_reason: str | None,
    stop_reason: int | str | None,
) -> str:
    if sequence.text is None:
        return sequence.final_text(tokens, ended=finish_reason == "stop")
    if last and not isinstance(stop_reason, str):
        sequence.text.finish()
    return sequence.text.take(last=last)
