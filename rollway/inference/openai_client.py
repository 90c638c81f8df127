"""Hosted providers through the `openai` package, behind the same protocol as `ChatClient`.

The package does the sending, with its own retries switched off; requests, replies, errors and retries are
those of the other clients, so a rollout does not see which backend it ran on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from rollway.inference.asking import TokenBudget
from rollway.inference.chat_reply import read_chat_reply
from rollway.inference.chat_request import (
    ChatFormat,
    ReasoningField,
    asked_tokens,
    chat_body,
    encode_body,
    with_tokens,
)
from rollway.inference.errors import BadRequest, ServerUnreachable
from rollway.inference.exchanges import Answer
from rollway.inference.faults import failed_try, one_line
from rollway.inference.gate import GateTimes, ServerGate
from rollway.inference.learned import Learned
from rollway.inference.presence import Found, Presence, found_status
from rollway.inference.protocol import Completion, CompletionRequest
from rollway.inference.retry import DEFAULT_RETRY, RetryPolicy, with_retries
from rollway.inference.sampling_fields import OPENAI, Spelling, with_mend
from rollway.inference.served_models import choose_model, read_models, served_context
from rollway.inference.server_report import ServerReport
from rollway.inference.token_data import TokenDataGuard
from rollway.inference.transport import DEFAULT_TIMEOUTS, Timeouts, time_limit
from rollway.inference.tries import TryFailed, TryFault

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_HOME = "https://api.openai.com/v1"
_CONNECTIONS = 1000  # that the package opens at most
HOSTED_TIMES = GateTimes(quiet=30.0, answer=10.0, doubt=2.0)
"""A provider is far away, and counts what it is asked."""


class OpenAIClient:
    """A `Client` for OpenAI and providers that copy it. For vLLM and SGLang `ChatClient` is the fast one.

    Args:
        model: the provider's name for it.
        api_key: ``None`` leaves it to the package, which reads ``OPENAI_API_KEY``.
        base_url: the API's address, ``/v1`` included; ``None`` is OpenAI itself.
        logprobs, return_token_ids: ask for token data; off, as hosted providers may refuse it.
        require_token_data: as in `ChatClient`.
        history_reasoning: as in `ChatClient`; ``none``, as hosted providers may refuse it.
        max_tokens_field: the field that carries ``sampling.max_tokens``; ``None`` is
            ``max_completion_tokens`` for OpenAI itself and ``max_tokens`` for all others.
    """

    def __init__(
        self,
        model: str = "",
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        logprobs: bool = False,
        return_token_ids: bool = False,
        require_token_data: bool = False,
        history_reasoning: ReasoningField = "none",
        max_tokens_field: str | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        retry: RetryPolicy = DEFAULT_RETRY,
        gate: GateTimes = HOSTED_TIMES,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.model = model
        self.server = (base_url or _HOME).rstrip("/")
        self.context: int | None = (
            None  # tokens of prompt and reply together, where `check` found them listed
        )
        self._api_key = api_key
        self._headers = dict(headers or {})
        self._form = ChatFormat(
            logprobs=logprobs,
            return_token_ids=return_token_ids,
            history_reasoning=history_reasoning,
            special_tokens=base_url is not None,
            max_tokens_field=max_tokens_field or ("max_tokens" if base_url else "max_completion_tokens"),
            spelling=OPENAI,
        )
        self._guard = TokenDataGuard(
            token_ids=return_token_ids, logprobs=logprobs, required=require_token_data
        )
        self._timeouts = timeouts
        self._retry = retry
        self.learned = Learned()
        self._rng = random.Random()
        self._sdk: AsyncOpenAI | None = None
        self._closed = False
        self._gate = ServerGate(
            self.server, self._probe, patience=retry.patience, most=_CONNECTIONS, times=gate
        )

    async def generate(self, request: CompletionRequest) -> Completion:
        """One reply, after as many tries as the retry policy allows. Raises as `ChatClient.generate` does."""
        if not self.model:
            raise BadRequest(f"no model is set for {self.server}; pass model=, or call check() first")
        self._open()
        body = chat_body(request, self.model, self._form)
        encode_body(body)  # the package's own error would not say where to look
        budget = TokenBudget(asked_tokens(body, self._form), of_rollout=request.rollout_budget)

        async def attempt(number: int) -> Completion:
            asked = with_tokens(body, self._form, budget.max_tokens) if budget.lowered else body
            try:
                return await self._try(asked, request, budget.judged)
            except TryFailed as failure:
                raise budget.after(failure) from failure

        try:
            return await with_retries(
                attempt,
                self._retry,
                server=self.server,
                deadline=request.deadline,
                rng=self._rng,
                gate=self._gate,
                clock=request.clock,
                request_id=request.request_id,
                tried=request.tried,
            )
        except BadRequest as error:
            raise with_mend(error, request.sampling, self._form.spelling) from None

    @property
    def spelling(self) -> Spelling:
        """How it says what shapes the distribution."""
        return self._form.spelling

    async def check(self) -> None:
        """Ask once whether the provider is there and lists the model. Raises as `ChatClient.check` does."""
        sdk = self._open()
        try:
            async with self._faults():
                reply = await sdk.models.with_raw_response.list()
        except TryFailed as failure:
            raise failure.error from failure
        served = read_models(reply.content, server=self.server)
        self.model = choose_model(self.model, [model.id for model in served], server=self.server)
        self.context = served_context(self.model, served)

    def report(self) -> ServerReport:
        """Whether the provider is there, and how many calls wait for it."""
        return self._gate.report()

    async def close(self) -> None:
        """Close all connections; calls that are running fail. Closing twice is fine."""
        self._gate.close()
        self._closed = True
        if self._sdk is not None:
            await self._sdk.close()

    async def __aenter__(self) -> OpenAIClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _try(
        self, body: dict[str, Any], request: CompletionRequest, max_tokens: int | None
    ) -> Completion:
        if self._closed:
            closed = ServerUnreachable(f"the client of {self.server} was closed before the reply arrived")
            raise TryFailed(closed, retry=False)
        sdk = self._open()
        request_id = request.request_id
        async with self._faults(max_tokens=max_tokens), self._noted(sdk, body, request) as answer:
            # All of it as extra_body: the package would walk every message to hold it against its types.
            reply = await sdk.chat.completions.with_raw_response.create(
                model=self.model,
                messages=[],
                extra_body=body,
                extra_headers={"X-Request-Id": request_id} if request_id else None,
            )
            answer.came(reply.status_code, reply.content)
        completion = read_chat_reply(
            reply.content, server=self.server, model=self.model, max_tokens=max_tokens
        )
        self._guard.check(completion)
        return completion

    async def _probe(self, seconds: float) -> Found:
        """Ask whether the provider is there, the way that the package goes: there may be a proxy."""
        import openai

        asking = self._open().with_options(timeout=seconds).models
        try:
            async with asyncio.timeout(seconds), asking.with_streaming_response.list() as response:
                return found_status(response.status_code)
        except openai.APIStatusError as error:
            return found_status(error.status_code)
        except (TimeoutError, openai.APITimeoutError):
            return Found(Presence.SILENT, f"no answer within {seconds:g} s")
        except openai.APIConnectionError as error:
            return Found(Presence.REFUSED, one_line(str(error.__cause__ or error)))

    def _open(self) -> AsyncOpenAI:
        import openai

        if self._closed:
            raise RuntimeError(f"the client of {self.server} is closed; make a new one")
        if self._sdk is None:
            times = self._timeouts
            try:
                self._sdk = openai.AsyncOpenAI(
                    api_key=self._api_key,
                    base_url=self.server,
                    max_retries=0,
                    timeout=openai.Timeout(None, connect=times.connect, read=times.first_byte),
                    default_headers=self._headers,
                )
            except openai.OpenAIError as error:
                raise BadRequest(f"the openai client cannot start: {error}") from error
        return self._sdk

    @asynccontextmanager
    async def _noted(
        self, sdk: AsyncOpenAI, body: dict[str, Any], request: CompletionRequest
    ) -> AsyncIterator[Answer]:
        """Enter what is sent, and what comes back, where the request asks for it."""
        import openai

        if request.exchanges is None:
            yield Answer()
            return
        headers = {"Authorization": f"Bearer {sdk.api_key}", **self._headers}
        sent = encode_body({"model": self.model, **body})
        path, request_id = "/chat/completions", request.request_id
        with request.exchanges.exchange(self.server, path, request_id, sent, headers) as answer:
            try:
                yield answer
            except openai.APIStatusError as error:
                answer.came(error.status_code, error.response.content)
                raise

    @asynccontextmanager
    async def _faults(self, max_tokens: int | None = None) -> AsyncIterator[None]:
        """Turn what the package raises inside into `TryFailed`."""
        import openai

        try:
            async with time_limit(self._timeouts.total, self.server, "whole reply", "total"):
                yield
        except openai.APIStatusError as error:
            raise failed_try(
                error.status_code,
                error.response.content,
                error.response.headers,
                server=self.server,
                model=self.model,
                max_tokens=max_tokens,
            ) from error
        except openai.APITimeoutError as error:
            raise self._timed_out(error) from error
        except openai.APIConnectionError as error:
            # Nothing but the cause's name says whether the request had been sent, in every version of httpx.
            away = type(error.__cause__).__name__ == "ConnectError"
            fault = TryFault.AWAY if away else TryFault.BROKEN
            raise TryFailed(self._unreachable(str(error.__cause__ or error)), fault=fault) from error

    def _unreachable(self, reason: str) -> ServerUnreachable:
        error = ServerUnreachable(
            f"no answer from {self.server} ({one_line(reason)}); check the network and base_url"
        )
        error.reason = one_line(reason)
        return error

    def _timed_out(self, error: Exception) -> TryFailed:
        # The package does not say which limit was reached; the cause's name does, in every version of httpx.
        if type(error.__cause__).__name__ == "ConnectTimeout":
            return TryFailed(self._unreachable("timed out connecting"), fault=TryFault.UNAVAILABLE)
        limit = self._timeouts.first_byte
        message = f"{self.server} sent nothing for {limit} s; raise timeouts.first_byte to wait longer"
        return TryFailed(ServerUnreachable(message), fault=TryFault.TIMED_OUT)
