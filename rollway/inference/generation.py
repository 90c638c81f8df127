"""One reply while it grows: the parts that a server gave before and after it aborted the generation.

The invariant: the parts are one reply. Each has all ids before it in its prompt, they share one budget of
tokens, and their ids, logprobs and versions are joined.
"""

from __future__ import annotations

from typing import Any

from rollway.inference.endings import ABORTED
from rollway.inference.prompt_writer import Prompt
from rollway.inference.protocol import SHAPING, Completion, CompletionRequest
from rollway.inference.token_endpoints import TokenReply
from rollway.inference.weight_updates import join_spans
from rollway.trajectory import Attempt, ErrorRecord, TurnTiming, Untrainable, Usage, VersionSpan

CUT = "length"

_NOT_SAMPLING = frozenset({"chat_template_kwargs"})
"""Fields of ``sampling.extra`` that are for the prompt."""

_SEED_STEP = 104_729  # a resumed generation must not draw the same random numbers again


class Generation:
    """The parts of one reply so far."""

    def __init__(self, request: CompletionRequest) -> None:
        sampling = request.sampling
        named = (*SHAPING, "max_tokens", "stop", "seed")
        fields: dict[str, Any] = {name: getattr(sampling, name) for name in named}
        fields |= {name: value for name, value in sampling.extra.items() if name not in _NOT_SAMPLING}
        self._fields = fields
        self.prompt: Prompt | None = None
        self.token_ids: list[int] = []
        self.finish_reason = ""
        self.stop_reason: str | int | None = None
        self.fault: ErrorRecord | None = None  # for which the server gave it up
        self.resumes = 0
        self._said: list[str] = []  # the server's own text of each part, where it gives one
        self._untrainable: Untrainable | None = None
        self._logprobs: list[float] | None = []
        self._spans: list[VersionSpan] | None = []
        self._known = True  # the server gave ids
        self._version: str | None = None
        self._reply_id = ""
        self._attempts: list[Attempt] = []
        self._usage: list[Usage] = []
        self._waited: float | None = None

    @property
    def keeps_stop_string(self) -> bool:
        """Whether the text is to hold the stop string that ended it."""
        return bool(self._fields.get("include_stop_str_in_output"))

    def fields(self) -> dict[str, Any]:
        """How the next part is to be sampled."""
        fields, done = dict(self._fields), len(self.token_ids)
        for budget in ("max_tokens", "min_tokens"):
            if fields.get(budget) is not None:
                fields[budget] = max(0, fields[budget] - done)
        if self.resumes and fields.get("seed") is not None:
            fields["seed"] = (fields["seed"] + self.resumes * _SEED_STEP) % 2**31
        return fields

    def add(self, part: TokenReply, spans: list[VersionSpan]) -> None:
        """Join what the server gave. ``spans`` label its tokens."""
        self._known = self._known and part.token_ids is not None
        ids = part.token_ids or []
        if self._spans is not None:
            labelled = bool(spans) or not ids
            self._spans = join_spans(self._spans, spans, len(self.token_ids)) if labelled else None
        if self._logprobs is not None:
            missing = part.logprobs is None and ids
            self._logprobs = None if missing else self._logprobs + (part.logprobs or [])
        self.token_ids = self.token_ids + ids
        self.finish_reason, self.stop_reason, self.fault = part.finish_reason, part.stop_reason, part.fault
        self._untrainable = self._untrainable or part.untrainable
        self._said.append(part.content or "")
        self._version = part.weight_version or self._version
        self._reply_id = part.reply_id or self._reply_id
        self._attempts += part.attempts
        self._usage.append(part.usage)
        self._waited = part.timing.queued if self._waited is None else self._waited

    @property
    def may_go_on(self) -> bool:
        """Whether the server aborted it, and gives no reason against another try."""
        return self.finish_reason == ABORTED and self.fault is None

    @property
    def server_text(self) -> str | None:
        """The server's own text, where it did not give the ids of it; None: the ids are the text."""
        missing = not self._known or self._untrainable is Untrainable.MISSING_TOKEN_IDS
        return ("".join(self._said) or None) if missing else None

    def cut(self) -> None:
        """No more tokens fit: the budget or the context is used up."""
        self.finish_reason, self.stop_reason = CUT, None

    @property
    def full(self) -> bool:
        """Whether the budget is used up."""
        budget = self._fields.get("max_tokens")
        return budget is not None and len(self.token_ids) >= budget

    def completion(
        self, content: str, stops: frozenset[int], *, model: str, server: str, waited: float, total: float
    ) -> Completion:
        """The reply as a whole. ``stops`` are the ids that end a reply. Seconds: ``waited`` before the first
        request, ``total`` overall."""
        assert self.prompt is not None
        spans = self._spans or []
        version = (spans[-1].until or spans[-1].version) if spans else self._version
        first = self._usage[0] if self._usage else Usage()
        return Completion(
            content=content,
            finish_reason=self.finish_reason,
            at_stop=self.token_ids[-1] in stops if self._known and self.token_ids else None,
            fault=self.fault,
            prompt_token_ids=self.prompt.token_ids,
            token_ids=self.token_ids if self._known else None,
            logprobs=self._logprobs,
            untrainable=self._untrainable,
            usage=Usage(
                prompt_tokens=first.prompt_tokens,
                completion_tokens=sum(usage.completion_tokens for usage in self._usage),
                cached_tokens=first.cached_tokens,
            ),
            model=model,
            server=server,
            reply_id=self._reply_id,
            weight_version=version,
            weight_versions=spans,
            resumes=self.resumes,
            prompt_end=self.prompt.end,
            rerendered=self.prompt.rerendered,
            dropped_stop=self.prompt.dropped_stop,
            attempts=self._attempts,
            timing=TurnTiming(queued=waited + (self._waited or 0.0), total=total),
        )
