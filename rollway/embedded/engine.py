"""Continuous batching: sequences join and leave at every step, and no sequence's tokens depend on the others.

Slots are packed: the decoding sequences first, in slots 0 to ``decoding`` - 1, then at most one whose prompt
is not all computed yet. One step computes a token for each decoding sequence and a bounded number of prompt
tokens. There are no threads and no clocks here.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from rollway.embedded.kv_cache import KVCache
from rollway.embedded.model import Batch, Model, Segment
from rollway.embedded.prefix_cache import BLOCK, Prefix, PrefixCache
from rollway.embedded.sampling import Integers, Sampled, generators, score
from rollway.embedded.sequences import GenerationRequest, Output, Sequence, make_output
from rollway.embedded.slots import Slots
from rollway.embedded.tokenizer import Tokenizer
from rollway.embedded.weights import Array

PREFILL_TOKENS = 512
"""Prompt tokens of one step: few enough that decoding sequences hardly wait for them."""


class Counters:
    """Totals since the start, and what is held now."""

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.generated_tokens = 0
        self.cache_queries = 0  # prompt tokens looked up
        self.cache_hits = 0  # prompt tokens found
        self.finished: dict[str, int] = {}  # sequences by finish reason


class Engine:
    """Runs requests over one model.

    Args:
        max_concurrency: sequences in flight; more wait in order.
        max_length: tokens of prompt and completion together.
        prefix_tokens: tokens whose keys and values are kept after their sequence ended; 0 keeps none.
    """

    def __init__(
        self, model: Model, tokenizer: Tokenizer, *, max_concurrency: int, max_length: int, prefix_tokens: int
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_concurrency = max_concurrency
        self.max_length = max_length
        self.counters = Counters()
        self._cache = KVCache(model.config, slots=max_concurrency, max_length=max_length)
        vocabulary = model.config.vocab_size
        self._slots = Slots(self._cache, slots=max_concurrency, max_length=max_length, vocabulary=vocabulary)
        self._prefixes = PrefixCache(max_tokens=prefix_tokens)
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []  # by slot
        self._decoding = 0
        self._outputs: list[Output] = []

    @property
    def waiting(self) -> int:
        """Sequences that have no slot yet."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Sequences in flight."""
        return len(self._running)

    @property
    def cache_usage(self) -> float:
        """Share of all positions of all slots that is in use, 0 to 1."""
        used = int(self._slots.count[: len(self._running)].sum())
        return used / (self.max_concurrency * self.max_length)

    def add(self, request: GenerationRequest) -> None:
        """Queue a request. Its prompt leaves room for at least one token."""
        for index, generator in enumerate(generators(request.params)):
            self._waiting.append(Sequence(request, index, generator, self.tokenizer))

    def abort(self, request: GenerationRequest) -> None:
        """End what is left of a request, with what it has sampled so far."""
        for sequence in [entry for entry in self._waiting if entry.request is request]:
            self._waiting.remove(sequence)
            self._emit(sequence, last=True, finish_reason="abort")
        slots = [slot for slot, entry in enumerate(self._running) if entry.request is request]
        for slot in slots:
            self._emit(self._running[slot], last=True, finish_reason="abort")
        self._release(slots)

    def step(self) -> list[Output]:
        """Compute one token for everything that can have one. Returns what is new since the last call."""
        if self._waiting or self._running:
            segments = self._plan()
            logits = self._forward(segments)
            self._finish_prefill(segments, logits)
            self._sample(logits)
        outputs, self._outputs = self._outputs, []
        return outputs

    # --- what to compute

    def _plan(self) -> list[Segment]:
        """This step's prompt tokens: the unfinished prompt's first, then those of new sequences."""
        budget, segments = PREFILL_TOKENS, []
        row = self._decoding
        for slot in range(self._decoding, len(self._running)):
            segments.append(self._segment(slot, row, budget))
        pending = {value for entry in self._running[self._decoding :] for value in entry.hashes}
        deferred: list[Sequence] = []
        while self._waiting and len(self._running) < self.max_concurrency:
            budget = PREFILL_TOKENS - sum(segment.rows.stop - segment.rows.start for segment in segments)
            if budget <= 0:
                break
            sequence = self._waiting.popleft()
            if not self._admit(sequence, pending):
                deferred.append(sequence)
                continue
            pending.update(sequence.hashes)
            row = segments[-1].rows.stop if segments else self._decoding
            segments.append(self._segment(sequence.slot, row, budget))
        self._waiting.extendleft(reversed(deferred))
        return segments

    def _segment(self, slot: int, row: int, budget: int) -> Segment:
        sequence = self._running[slot]
        count = min(budget, len(sequence.prompt) - sequence.computed)
        return Segment(slot, sequence.computed, slice(row, row + count))

    def _admit(self, sequence: Sequence, pending: set[int]) -> bool:
        """Give a sequence the next slot. Not yet, if a prompt that is being computed begins like its own."""
        parent: Prefix | None = None
        shared = 0
        if sequence.params.prompt_logprobs is None:  # those need every token computed
            parent, shared = self._prefixes.match(sequence.prompt, sequence.hashes)
            soon = sum(1 for value in sequence.hashes if value in pending) * BLOCK
            if soon > shared + BLOCK:
                return False
            self.counters.cache_queries += len(sequence.prompt)
            self.counters.cache_hits += shared
        slot = sequence.slot = len(self._running)
        self._running.append(sequence)
        self._cache.ensure(len(sequence.prompt) + 1, len(self._running))
        if parent is not None and parent.span is not None:
            self._cache.write(slot, parent.span, shared)
        elif parent is not None and parent.slot is not None:
            self._cache.copy(parent.slot, slot, shared)
        sequence.parent, sequence.computed, sequence.cached = parent, shared, shared
        self.counters.prompt_tokens += len(sequence.prompt)
        ends = sequence.end_tokens(self.tokenizer)
        self._slots.begin(
            slot,
            sequence.prompt,
            sequence.params,
            generator=sequence.generator,
            ends=np.array(ends, np.int64),
            watched=sequence.text is not None or bool(sequence.params.logprobs),
        )
        return True

    # --- computing it

    def _forward(self, segments: list[Segment]) -> Array:
        """Logits: first those to sample from, in the order of their slots, then those that score prompts."""
        slots, decoding = self._slots, self._decoding
        last = slots.count[:decoding] - 1
        if decoding:
            self._cache.ensure(int(last.max()) + 1, len(self._running))
        tokens = [slots.tokens[np.arange(decoding), last]]
        positions = [last]
        sampled, scored = [np.arange(decoding)], []
        for slot, start, rows in segments:
            stop = start + rows.stop - rows.start
            sequence = self._running[slot]
            tokens.append(sequence.prompt[start:stop])
            positions.append(np.arange(start, stop))
            if stop == len(sequence.prompt):
                sampled.append(np.array([rows.stop - 1]))
            if sequence.params.prompt_logprobs is not None:
                scored.append(np.arange(rows.start, rows.stop))
        batch = Batch(
            tokens=np.concatenate(tokens),
            positions=np.concatenate(positions),
            decoding=decoding,
            segments=segments,
            logit_rows=np.concatenate(sampled + scored),
        )
        return self.model.forward(batch, self._cache)

    def _finish_prefill(self, segments: list[Segment], logits: Array) -> None:
        """Note what was computed of each prompt; sequences whose prompt is whole begin to decode."""
        complete = sum(
            segment.start + segment.rows.stop - segment.rows.start == len(self._running[segment.slot].prompt)
            for segment in segments
        )
        row = self._decoding + complete
        for slot, start, rows in segments:
            sequence = self._running[slot]
            stop = sequence.computed = start + rows.stop - rows.start
            if sequence.params.prompt_logprobs is not None:
                sequence.score_prompt(logits[row : row + stop - start], start)
                row += stop - start
            if stop == len(sequence.prompt):
                self._decoding += 1
                if self._prefixes.fits(stop):
                    sequence.prefix = Prefix(sequence.prompt, slot)
                    self._prefixes.publish(sequence.prefix, sequence.hashes)

    def _sample(self, logits: Array) -> None:
        state, slots = self._slots, np.arange(self._decoding)
        if not len(slots):
            return
        logits = logits[: len(slots)]
        tokens = state.sampler.sample(logits, slots, forbidden=self._forbidden(slots))
        top = int(state.top[slots].max())
        sampled = score(logits, tokens, top=top) if top >= 0 else None
        finished = set(state.append(slots, tokens, sampled).tolist())
        self.counters.generated_tokens += len(slots)
        ended = []
        for slot in sorted(finished.union(np.flatnonzero(state.watched[slots]).tolist())):
            if self._watch(slot, int(tokens[slot]), sampled, finished=slot in finished):
                ended.append(slot)
        self._release(ended)

    def _forbidden(self, slots: Integers) -> NDArray[np.bool_] | None:
        early = np.flatnonzero(self._slots.count[slots] < self._slots.minimum[slots])
        if not len(early):
            return None
        mask = np.zeros((len(slots), self._slots.ends.shape[1]), bool)
        mask[early] = self._slots.ends[early]
        return mask

    # --- giving it out

    def _watch(self, slot: int, token: int, sampled: Sampled | None, *, finished: bool) -> bool:
        """Look at one sequence's new token. Returns whether the sequence has ended."""
        sequence = self._running[slot]
        ends = bool(self._slots.ends[slot, token])
        sequence.keep_top(slot, sampled)
        stop = sequence.read(token, ends=ends)
        reason: str | None = None
        if stop is not None or ends:
            reason = "stop"
        elif finished:
            reason = "length"
        if reason is not None or sequence.request.stream:
            stop_reason = stop if stop is not None else sequence.stop_reason(token) if ends else None
            self._emit(sequence, last=reason is not None, finish_reason=reason, stop_reason=stop_reason)
        return reason is not None

    def _emit(
        self,
        sequence: Sequence,
        *,
        last: bool,
        finish_reason: str | None,
        stop_reason: int | str | None = None,
    ) -> None:
        if last:
            reason = finish_reason or ""
            self.counters.finished[reason] = self.counters.finished.get(reason, 0) + 1
        self._outputs.append(make_output(sequence, self._slots, last, finish_reason, stop_reason))

    def _release(self, slots: list[int]) -> None:
        """Free slots, keeping what they computed for later prompts, and pack the rest."""
        unfinished = self._running[self._decoding] if self._decoding < len(self._running) else None
        before = self._decoding
        for slot in sorted(slots, reverse=True):
            sequence = self._running[slot]
            sequence.slot = -1
            if slot >= before:  # its prompt was not all there: nothing to keep
                unfinished = None
                continue
            self._keep(sequence, slot)
            self._decoding -= 1
            if slot != self._decoding:
                self._move(self._decoding, slot)
        del self._running[self._decoding :]
        if unfinished is not None:
            self._running.append(unfinished)
            if unfinished.slot != self._decoding:
                self._slots.move(unfinished.slot, self._decoding)
                unfinished.slot = self._decoding

    def _move(self, source: int, target: int) -> None:
        sequence = self._running[source]
        self._slots.move(source, target)
        self._running[target] = sequence
        sequence.slot = target
        if sequence.prefix is not None:
            sequence.prefix.slot = target

    def _keep(self, sequence: Sequence, slot: int) -> None:
        """Hand keys and values to the prefix cache: of all tokens but the last, which was never fed back."""
        known = int(self._slots.count[slot]) - 1
        if sequence.prefix is None:
            return
        if not self._prefixes.fits(known):
            self._prefixes.forget(sequence.prefix)
            return
        tokens = self._slots.tokens[slot, :known].copy()
        self._prefixes.supersede(sequence.parent, tokens)
        self._prefixes.store(sequence.prefix, tokens, self._cache.read(slot, known))
