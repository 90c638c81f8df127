"""Chat completions of vLLM, SGLang and any OpenAI-compatible server, with exact token data where it is given.

One `generate` is one reply or one typed error; the tries in between are in the record. Cancelling it closes
the connection, on which the server aborts the request, and cancelling between two tries sends nothing more.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from rollway.errors import UserError
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
from rollway.inference.errors import BadRequest, InferenceError, ModelNotFound
from rollway.inference.exchanges import ExchangeLog
from rollway.inference.faults import failed_try, model_not_found
from rollway.inference.gate import DEFAULT_TIMES, GateTimes, ServerGate
from rollway.inference.learned import Learned
from rollway.inference.llama_prompts import ServedPrompts
from rollway.inference.model_folder import folder_stops
from rollway.inference.protocol import Completion, CompletionRequest
from rollway.inference.retry import DEFAULT_RETRY, RetryPolicy, with_retries
from rollway.inference.sampling_fields import LLAMA_CPP, Spelling, with_mend
from rollway.inference.served_models import (
    ServedModel,
    choose_model,
    read_models,
    served_by_llama_cpp,
    served_context,
    served_folder,
)
from rollway.inference.server_report import ServerReport
from rollway.inference.token_data import TokenDataGuard
from rollway.inference.tools_seen import folder_shows_tools, server_shows_tools
from rollway.inference.transport import DEFAULT_TIMEOUTS, Timeouts, Transport, json_headers, split_base_url
from rollway.inference.tries import TryFailed

_CHECK_TIME = 30.0  # seconds to list the models


class ChatClient:
    """A `Client` over HTTP. Safe for thousands of concurrent calls on one event loop; bound to that loop.

        async with ChatClient(base_url="http://127.0.0.1:8000", model="Qwen/Qwen3-8B") as client:
            completion = await client.generate(CompletionRequest(messages=[...]))

    Args:
        base_url: the server's address, with or without ``/v1``.
        model: the name it serves; "" lets `check` find the only one.
        api_key: sent as a bearer token.
        logprobs, return_token_ids: whether to ask for token data; switch them off for a server that refuses
            fields it does not know.
        require_token_data: a reply without the token data that was asked for, or with ids and logprobs of
            different lengths, raises `InvalidReply`. Otherwise the log tells it once and the reply is kept.
        history_reasoning: the field that carries the thoughts of earlier turns to the server; "auto" is the
            one in which the server sent them.
        max_tokens_field: the field that carries ``sampling.max_tokens``.
        gate: when the server is asked whether it is there, and how often.
        headers: sent with every request.
        max_connections: requests beyond this number, or beyond the open files that the process may have, wait
            in the client.
        folder: the model's own, which tells the tokens that end a reply where a server does not say how one
            ended; None takes the one that `check` finds, if that is on this machine.

    Attributes:
        folder: as given, or as found.
        context: tokens of prompt and reply together, where `check` found them listed.

    Raises:
        ValueError: ``base_url`` is no http address.
    """

    def __init__(
        self,
        base_url: str,
        model: str = "",
        api_key: str | None = None,
        *,
        logprobs: bool = True,
        return_token_ids: bool = True,
        require_token_data: bool = False,
        history_reasoning: ReasoningField = "auto",
        max_tokens_field: str = "max_tokens",
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        retry: RetryPolicy = DEFAULT_RETRY,
        gate: GateTimes = DEFAULT_TIMES,
        headers: Mapping[str, str] | None = None,
        max_connections: int = 10_000,
        folder: str | Path | None = None,
    ) -> None:
        self.server, self._api = split_base_url(base_url)
        self.model = model
        self.folder = None if folder is None else Path(folder).expanduser()
        self._stop_ids: frozenset[int] | None = None
        self.context: int | None = None
        self._form = ChatFormat(
            logprobs=logprobs,
            return_token_ids=return_token_ids,
            history_reasoning=history_reasoning,
            max_tokens_field=max_tokens_field,
        )
        self._guard = TokenDataGuard(
            token_ids=return_token_ids, logprobs=logprobs, required=require_token_data
        )
        self._retry = retry
        self.learned = Learned()
        self._rng = random.Random()
        self._transport = Transport(
            self.server,
            headers=json_headers(api_key, headers),
            timeouts=timeouts,
            max_connections=max_connections,
        )
        self._prompts = ServedPrompts(self._transport)
        self._gate = ServerGate(
            self.server,
            lambda seconds: self._transport.probe(f"{self._api}/models", seconds),
            patience=retry.patience,
            most=self._transport.max_connections,
            times=gate,
        )

    async def generate(self, request: CompletionRequest) -> Completion:
        """One reply, after as many tries as the retry policy allows.

        Raises:
            ContextOverflow, ModelNotFound, BadRequest, InvalidReply: at once.
            ServerOverloaded, ServerUnreachable: after the last try.
            NoReplyInTime: the request's deadline came first.
            RuntimeError: the client is closed, or was first used on another event loop.
        """
        if not self.model:
            raise BadRequest(f"no model is set for {self.server}; pass model=, or call check() first")
        self._transport.open()
        body = chat_body(request, self.model, self._form)
        encoded = encode_body(body)
        budget = TokenBudget(asked_tokens(body, self._form), of_rollout=request.rollout_budget)

        async def attempt(number: int) -> Completion:
            nonlocal encoded
            headers = _request_headers(request.request_id, number)
            try:
                return await self._try(encoded, headers, budget.judged, request.exchanges)
            except TryFailed as failure:
                meaning = budget.after(failure)
                if meaning.at_once:
                    encoded = encode_body(with_tokens(body, self._form, budget.max_tokens))
                raise meaning from failure

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
        except ModelNotFound as error:
            if error.served:
                raise
            raise await self._with_served_names(error, request.deadline) from error
        except BadRequest as error:
            raise with_mend(error, request.sampling, self._form.spelling) from None

    @property
    def spelling(self) -> Spelling:
        """How it says what shapes the distribution."""
        return self._form.spelling

    async def check(self) -> None:
        """Ask once whether the server is there and serves the model; adopt its only model when none is given.

        A llama.cpp server is known by its list, and told in its own words from then on how to draw.

        Raises:
            ServerUnreachable: nothing answers.
            ModelNotFound: it does not serve ``model``, or none is given and it serves several.
            BadRequest, ServerOverloaded, InvalidReply: it answers, but with no list of models.
        """
        self._transport.open()
        served = await self._served_models(_CHECK_TIME)
        if served is not None:
            self.model = choose_model(self.model, [model.id for model in served], server=self.server)
            self.folder = self.folder or served_folder(self.model, served)
            self.context = served_context(self.model, served)
            if served_by_llama_cpp(served):
                self._form = msgspec.structs.replace(self._form, spelling=LLAMA_CPP)

    def report(self) -> ServerReport:
        """Whether the server is there, and how many calls wait for it."""
        return self._gate.report()

    async def shows_tools(self) -> bool | None:
        """Whether the model is shown the tools of a request; None where nobody says. Sends no chat request.

        Asked are the server, and the chat template of the model's folder where `check` found that.
        """
        self._transport.open()
        shown = await server_shows_tools(self._transport, self.model)
        if shown is None and self.folder is not None:
            shown = folder_shows_tools(self.folder)
        return shown

    async def close(self) -> None:
        """Close all connections; calls that are running fail. Closing twice is fine."""
        self._gate.close()
        await self._transport.close()

    async def __aenter__(self) -> ChatClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _try(
        self,
        encoded: bytes,
        headers: Mapping[str, str],
        max_tokens: int | None,
        exchanges: ExchangeLog | None,
    ) -> Completion:
        reply = await self._transport.post(f"{self._api}/chat/completions", encoded, headers, exchanges)
        if not 200 <= reply.status < 300:
            raise failed_try(
                reply.status,
                reply.body,
                reply.headers,
                server=self.server,
                model=self.model,
                max_tokens=max_tokens,
            )
        completion = read_chat_reply(reply.body, server=self.server, model=self.model, max_tokens=max_tokens)
        if completion.ids_in_logprobs and self._form.return_token_ids:
            await self._prompts.complete(completion, encoded)
        self._guard.check(completion)
        if not completion.finish_reason and completion.token_ids and self.folder is not None:
            completion.at_stop = completion.token_ids[-1] in await self._stops(self.folder)
        return completion

    async def _stops(self, folder: Path) -> frozenset[int]:
        """The tokens that end the model's replies. Read in a thread: a large vocabulary takes a second."""
        if self._stop_ids is None:
            try:
                self._stop_ids = await asyncio.to_thread(folder_stops, folder)
            except UserError as error:
                raise TryFailed(BadRequest(str(error)), retry=False) from error
        return self._stop_ids

    async def _served_models(self, total: float) -> list[ServedModel] | None:
        """The models that the server lists; None when it has no list and a model is given."""
        try:
            reply = await self._transport.get(f"{self._api}/models", Timeouts(connect=total, total=total))
            if reply.status == 404 and self.model:
                return None
            if not 200 <= reply.status < 300:
                raise failed_try(reply.status, reply.body, reply.headers, server=self.server)
        except TryFailed as failure:
            raise failure.error from failure
        return read_models(reply.body, server=self.server)

    async def _with_served_names(self, error: ModelNotFound, deadline: float | None) -> ModelNotFound:
        """The same error with the names that the server does serve, where it tells them in time."""
        left = _CHECK_TIME if deadline is None else min(_CHECK_TIME, deadline - time.monotonic())
        if left <= 0:
            return error
        try:
            served = await self._served_models(left)
        except InferenceError:
            return error  # the reason at hand is the better one
        if not served:
            return error
        names = [model.id for model in served]
        better = model_not_found(self.server, self.model, names, status=error.status)
        better.attempts = error.attempts
        return better


def _request_headers(request_id: str, number: int) -> dict[str, str]:
    """Each try has an id of its own: a server may still be busy aborting the one before."""
    if not request_id:
        return {}
    return {"X-Request-Id": request_id if number == 0 else f"{request_id}-retry{number}"}
