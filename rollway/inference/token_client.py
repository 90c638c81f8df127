"""Token ids in, token ids out, on vLLM, SGLang, llama.cpp, the embedded server: nothing is tokenised again.

The prompt is made here, from the model's own folder; the next one begins with the very ids of the last one
and of what was sampled. One `generate` is one reply or one typed error, and cancelling it closes the
connection, on which the server aborts the request.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from rollway.clock import RolloutClock
from rollway.errors import UserError
from rollway.inference.asking import TokenBudget
from rollway.inference.chat_request import encode_body
from rollway.inference.chat_template import TemplateFailure
from rollway.inference.endings import ABORTED
from rollway.inference.errors import BadRequest, ContextOverflow
from rollway.inference.exchanges import ExchangeLog
from rollway.inference.faults import failed_try
from rollway.inference.gate import DEFAULT_TIMES, GateTimes, ServerGate
from rollway.inference.generation import Generation
from rollway.inference.learned import Learned
from rollway.inference.llama_logprobs import force_token
from rollway.inference.prompt_writer import OnMismatch, Prompt, PromptWriter, Writer
from rollway.inference.protocol import Completion, CompletionRequest
from rollway.inference.retry import DEFAULT_RETRY, RetryPolicy, with_retries
from rollway.inference.server_report import ServerReport
from rollway.inference.template_probe import TemplateReport
from rollway.inference.token_data import TokenDataGuard, all_there
from rollway.inference.token_discovery import AUTO, compare_prompt, find_endpoint, find_model, refuse_closed
from rollway.inference.token_endpoints import ENDPOINTS, TokenCall, TokenEndpoint, TokenReply, read_reply
from rollway.inference.transport import DEFAULT_TIMEOUTS, Timeouts, Transport, json_headers, split_base_url
from rollway.inference.tries import TryFailed
from rollway.inference.weight_updates import UpdateGate, label_tokens

Endpoint = Literal["auto", "generate", "completions", "sglang", "llama"]

TEMPLATE = "template"
"""The renderer that is no renderer of the `renderers` package: the model's own chat template."""

CHAT_ONLY = ("tool_choice", "response_format")
"""Fields of ``sampling.extra`` that only chat endpoints know; on others they would be lost in silence."""


class _Ready(msgspec.Struct, frozen=True):
    """What was found out about the server before the first request."""

    writer: Writer
    endpoint: TokenEndpoint
    context: int | None  # tokens of prompt and completion together; None: not known


class TokenClient:
    """A `Client` that sends token ids. Safe for thousands of concurrent calls on one event loop; bound to it.

        async with TokenClient("http://127.0.0.1:8000", folder="/models/Qwen3-8B") as client:
            loop = AgentLoop(client, tool_parser="hermes", reasoning_parser="qwen3")

    Replies are text and ids; calls and thoughts are read from the text by the loop.

    Args:
        base_url: the server's address, with or without ``/v1``.
        model: the name it serves; "" finds the only one.
        folder: the model's own folder, with its tokenizer and chat template; None takes the one that the
            server names, where that is on this machine.
        api_key: sent as a bearer token.
        endpoint: "generate" is vLLM's and the embedded server's ``/inference/v1/generate``, "sglang" SGLang's
            ``/generate``, "llama" llama.cpp's ``/completion``, "completions" ``/v1/completions`` with prompts
            of ids; "auto" takes the first of these that the server opens.
        on_mismatch: where the template would write earlier messages otherwise once more follow, "keep" the
            model's own tokens all the same, or "rerender" the conversation and begin a new sequence.
        renderer: "template" renders the folder's chat template; any other name is a renderer of the
            `renderers` package (the extra ``renderers``), or a model that it knows by its hub name.
        template_variables: reach the chat template in every prompt.
        weight_version: what the weights are called until the first `weight_update`.
        max_resumes: times that one generation goes on after the server aborted it; aborts that come while
            this client is paused do not count.
        require_token_data: a reply without ids or logprobs is an error.
        timeouts, retry, gate, headers, max_connections: as in `ChatClient`.

    Raises:
        ValueError: ``base_url`` is no http address, or there is no such endpoint.
    """

    def __init__(
        self,
        base_url: str,
        model: str = "",
        folder: str | Path | None = None,
        api_key: str | None = None,
        *,
        endpoint: Endpoint = "auto",
        on_mismatch: OnMismatch = "keep",
        renderer: str = TEMPLATE,
        template_variables: Mapping[str, Any] | None = None,
        weight_version: str | int | None = None,
        max_resumes: int = 8,
        require_token_data: bool = True,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        retry: RetryPolicy = DEFAULT_RETRY,
        gate: GateTimes = DEFAULT_TIMES,
        headers: Mapping[str, str] | None = None,
        max_connections: int = 10_000,
    ) -> None:
        if endpoint != AUTO and endpoint not in ENDPOINTS:
            raise ValueError(f"endpoint must be auto, {', '.join(ENDPOINTS)}, got {endpoint!r}")
        self.server, self._api = split_base_url(base_url)
        self.model = model
        self.folder = None if folder is None else Path(folder).expanduser()
        self._endpoint = endpoint
        self._on_mismatch = on_mismatch
        self._renderer = renderer
        self._variables = dict(template_variables or {})
        self._max_resumes = max_resumes
        self._retry = retry
        self.learned = Learned()
        self._rng = random.Random()
        self._guard = TokenDataGuard(token_ids=True, logprobs=True, required=require_token_data)
        self._updates = UpdateGate(None if weight_version is None else str(weight_version))
        self.context: int | None = None  # tokens of prompt and reply together, where the server lists them
        self._ready: _Ready | None = None
        self._ended_by: frozenset[int] = frozenset()  # tokens at which the server said that it ended replies
        self._finding_out = asyncio.Lock()
        self._transport = Transport(
            self.server,
            headers=json_headers(api_key, headers),
            timeouts=timeouts,
            max_connections=max_connections,
        )
        self._gate = ServerGate(
            self.server,
            lambda seconds: self._transport.probe(f"{self._api}/models", seconds),
            patience=retry.patience,
            most=self._transport.max_connections,
            times=gate,
        )

    async def generate(self, request: CompletionRequest) -> Completion:
        """One reply, over as many tries as the retry policy allows and as many aborts as may be.

        Raises:
            ContextOverflow, ModelNotFound, BadRequest, InvalidReply: at once.
            ServerOverloaded, ServerUnreachable: after the last try.
            NoReplyInTime: the request's deadline came first.
            RuntimeError: the client is closed, or was first used on another event loop.
        """
        self._transport.open()
        for name in CHAT_ONLY:
            if name in request.sampling.extra:
                raise BadRequest(f"sampling.extra has {name!r}, which only chat endpoints accept; remove it")
        clock = request.clock or RolloutClock()
        with self._updates.generating(clock):
            return await self._generated(request, clock)

    async def _generated(self, request: CompletionRequest, clock: RolloutClock) -> Completion:
        began = time.monotonic()
        generation = Generation(request)
        await self._updates.passed(request.deadline, self.server, clock)
        waited = time.monotonic() - began
        resumes_left = self._max_resumes
        while True:
            closings = self._updates.closings
            await self._part(generation, request, clock)
            if not generation.may_go_on:
                break
            if generation.full:
                generation.cut()
                break
            if self._updates.closings == closings and not self._updates.closed:
                resumes_left -= 1
                if resumes_left < 0:
                    break
            generation.resumes += 1
            await self._updates.passed(request.deadline, self.server, clock)
        return self._completion(generation, request, waited, time.monotonic() - began)

    async def check(self) -> TemplateReport:
        """Find out what there is to know before the first request, and return what the template is like.

        A server that makes other ids of a first prompt than the folder does is told in the log.

        Raises:
            ServerUnreachable: nothing answers.
            ModelNotFound: it does not serve ``model``, or none is given and it serves several.
            BadRequest: no model folder is given or found, or it cannot be read; or the endpoint is closed.
            ServerOverloaded, InvalidReply: it answers, but not as a model server.
        """
        self._transport.open()
        try:
            ready = await self._found_out(need_context=True)
            await refuse_closed(self._transport, ready.endpoint, self._api)
            writer = ready.writer
            await compare_prompt(self._transport, self.model, writer, self._variables)
        except TryFailed as failure:
            raise failure.error from failure
        return writer.report

    def report(self) -> ServerReport:
        """Whether the server is there, and how many calls wait for it."""
        return self._gate.report()

    async def shows_tools(self) -> bool | None:
        """Whether the template writes the tools of a request into the prompt. Raises as `check` does."""
        self._transport.open()
        try:
            return (await self._found_out()).writer.report.shows_tools
        except TryFailed as failure:
            raise failure.error from failure

    def pause(self) -> None:
        """Hold new requests back until `resume`. Those that were sent go on."""
        self._updates.pause()

    def resume(self) -> None:
        """Let requests go on."""
        self._updates.resume()

    @asynccontextmanager
    async def weight_update(self, version: str | int) -> AsyncIterator[None]:
        """Around a change of the server's weights: requests wait, then the weights are called ``version``.

            async with client.weight_update(step):
                await server.pause(mode="abort")
                await server.load(weights)
                await server.resume()

        Generations that the server aborts meanwhile go on from what they have. If the block raises, the
        version stays as it was.
        """
        async with self._updates.update(str(version)):
            yield

    async def close(self) -> None:
        """Close all connections; calls that are running fail. Closing twice is fine."""
        self._gate.close()
        await self._transport.close()

    async def __aenter__(self) -> TokenClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _part(self, generation: Generation, request: CompletionRequest, clock: RolloutClock) -> None:
        """One more part of a generation, after as many tries as the retry policy allows."""
        version: str | None = None
        budget = TokenBudget(generation.fields().get("max_tokens"), of_rollout=request.rollout_budget)

        async def attempt(number: int) -> TokenReply:
            nonlocal version
            await self._updates.passed(None, self.server, clock)  # a retry may meet an update
            version = self._updates.version
            ready = await self._found_out()
            if generation.prompt is None:
                generation.prompt = self._write(ready.writer, request)
            call = TokenCall(
                token_ids=generation.prompt.token_ids + generation.token_ids,
                server=self.server,
                model=self.model,
                request_id=_request_id(request.request_id, generation.resumes, number),
                fields=generation.fields(),
                neutral=request.sampling.defaults == "neutral",
                cache_salt=version,
                judged=budget.judged,
            )
            call.fields["max_tokens"] = budget.max_tokens
            if ready.endpoint.needs_budget and budget.max_tokens is None:
                call.fields["max_tokens"] = self._rest_of_context(ready, len(call.token_ids))
            try:
                return await self._try(ready.endpoint, call, request.exchanges)
            except TryFailed as failure:
                may_leave_out = not ready.endpoint.needs_budget or ready.context is not None
                raise budget.after(failure, may_leave_out=may_leave_out) from failure

        try:
            part = await with_retries(
                attempt,
                self._retry,
                server=self.server,
                deadline=request.deadline,
                rng=self._rng,
                gate=self._gate,
                clock=clock,
                request_id=request.request_id,
                tried=request.tried,
            )
        except ContextOverflow:
            if not generation.token_ids:
                raise
            generation.cut()  # what the server had sampled before it aborted fills the context
            return
        spans = label_tokens(
            part.weight_versions,
            part.weight_version,
            count=len(part.token_ids or ()),
            before=version,
            after=self._updates.version_after(aborted=part.finish_reason == ABORTED),
        )
        generation.add(part, spans)

    def _write(self, writer: Writer, request: CompletionRequest) -> Prompt:
        try:
            return writer.write(request, self._stops(writer, request))
        except TemplateFailure as error:
            refused = BadRequest(f"the chat template of {writer.folder} refuses the conversation: {error}")
            raise TryFailed(refused, retry=False) from error

    async def _try(
        self, endpoint: TokenEndpoint, call: TokenCall, exchanges: ExchangeLog | None
    ) -> TokenReply:
        headers = {"X-Request-Id": call.request_id} if call.request_id else {}
        path = endpoint.path.format(api=self._api)
        reply = await self._transport.post(path, encode_body(endpoint.body(call)), headers, exchanges)
        if not 200 <= reply.status < 300:
            raise failed_try(
                reply.status,
                reply.body,
                reply.headers,
                server=self.server,
                model=self.model,
                max_tokens=call.judged,
                sent=len(call.token_ids),
            )
        read = read_reply(endpoint, reply.body, call, server=self.server)
        await self._ask_for_left_out(read, call)
        self._guard.check(read)
        return read

    async def _ask_for_left_out(self, reply: TokenReply, call: TokenCall) -> None:
        """Ask for the logprobs that llama.cpp did not give with the reply."""
        ids, logprobs = reply.token_ids or [], reply.logprobs or []
        for place in reply.left_out:
            before = call.token_ids + ids[:place]
            scored = await force_token(self._transport, before, ids[place], model=self.model)
            logprobs[place] = scored.logprob
        if reply.left_out:
            _, unusable = all_there(logprobs)
            reply.untrainable = reply.untrainable or unusable

    def _stops(self, writer: Writer, request: CompletionRequest) -> frozenset[int]:
        """The ids that end a reply to this request."""
        more = request.sampling.extra.get("stop_token_ids")
        return writer.tokenizer.stop_ids | self._ended_by | frozenset(more or ())

    def _completion(
        self, generation: Generation, request: CompletionRequest, waited: float, total: float
    ) -> Completion:
        assert self._ready is not None
        assert generation.prompt is not None
        writer, stop = self._ready.writer, generation.stop_reason
        if isinstance(stop, int) and stop not in self._stops(writer, request):
            self._ended_by |= {stop}
        stops = self._stops(writer, request)
        text = generation.server_text
        if text is None:
            text = writer.tokenizer.reply_text(generation.token_ids, generation.prompt.token_ids[-1:], stops)
            if isinstance(stop, str) and stop in text and not generation.keeps_stop_string:
                text = text[: text.rindex(stop)]
        return generation.completion(
            text, stops, model=self.model, server=self.server, waited=waited, total=total
        )

    async def _found_out(self, *, need_context: bool = False) -> _Ready:
        """What the server and its model are, found out once. The context's length is asked for where the
        endpoint needs it.

        Raises:
            TryFailed: the server does not say.
        """
        if self._ready is not None:
            return self._ready
        async with self._finding_out:
            if self._ready is None:
                endpoint = await find_endpoint(self._transport, self._endpoint)
                served = await find_model(
                    self._transport,
                    self._api,
                    self.model,
                    self.folder,
                    need_context=need_context or endpoint.needs_budget,
                )
                writer = await self._open_folder(served.folder)
                self.model, self.folder, self.context = served.name, served.folder, served.context
                self._ready = _Ready(writer, endpoint, served.context)
        return self._ready

    def _rest_of_context(self, ready: _Ready, prompt: int) -> int:
        if ready.context is None:
            unknown = f"{self.server} does not report its model's context length; set sampling.max_tokens"
            raise TryFailed(BadRequest(unknown), retry=False)
        return max(1, ready.context - prompt)  # where nothing is left, the server's own refusal says so

    async def _open_folder(self, folder: Path) -> Writer:
        try:  # in a thread: a large vocabulary takes a second
            return await asyncio.to_thread(self._writer_of, folder)
        except UserError as error:
            raise TryFailed(BadRequest(str(error)), retry=False) from error

    def _writer_of(self, folder: Path) -> Writer:
        if self._renderer == TEMPLATE:
            return PromptWriter(folder, on_mismatch=self._on_mismatch, variables=self._variables)
        from rollway.inference.renderers_writer import RendererWriter

        return RendererWriter(
            folder, self._renderer, on_mismatch=self._on_mismatch, variables=self._variables
        )


def _request_id(request_id: str, resumes: int, number: int) -> str:
    """Each part and each try has an id of its own: a server may still be busy aborting the one before."""
    if not request_id:
        return ""
    part = request_id if not resumes else f"{request_id}-part{resumes}"
    return part if not number else f"{part}-retry{number}"
