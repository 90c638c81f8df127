"""What a server says about itself: models, health, version, load, metrics."""

from __future__ import annotations

from importlib.metadata import version

from aiohttp import web

from rollway.embedded.server.context import CONTEXT, json_reply, read_body
from rollway.embedded.server.requests import AbortRequest


def routes() -> list[web.RouteDef]:
    """The endpoints of this file."""
    return [
        web.get("/v1/models", models),
        web.get("/health", health),
        web.get("/ping", health),
        web.get("/version", show_version),
        web.get("/load", load),
        web.post("/inference/v1/abort_requests", abort),
        web.post("/abort_requests", abort),
        web.get("/metrics", metrics),
    ]


async def models(request: web.Request) -> web.Response:
    """The one model that is served."""
    context = request.app[CONTEXT]
    card = {
        "id": context.policy.name,
        "object": "model",
        "created": context.started,
        "owned_by": "rollway",
        "root": str(context.policy.folder),
        "parent": None,
        "max_model_len": context.max_length,
        "permission": [],
    }
    return json_reply({"object": "list", "data": [card]})


async def health(request: web.Request) -> web.Response:
    """200 while the engine runs, 503 when it has died."""
    return web.Response(status=200 if request.app[CONTEXT].engine.death is None else 503)


async def show_version(request: web.Request) -> web.Response:
    """The version of this package."""
    return json_reply({"version": version("rollway"), "server": "rollway"})


async def load(request: web.Request) -> web.Response:
    """Requests that are being answered."""
    return json_reply({"server_load": request.app[CONTEXT].engine.pending})


async def abort(request: web.Request) -> web.Response:
    """Abort requests by the ids that their replies carry."""
    context, body = await read_body(request, AbortRequest)
    context.engine.abort(frozenset(body.request_ids))
    return web.Response()


async def metrics(request: web.Request) -> web.Response:
    """Prometheus text, with vLLM's names."""
    context = request.app[CONTEXT]
    engine = context.engine.engine
    counters = engine.counters
    label = f'model_name="{context.policy.name}"'
    gauges: dict[str, float] = {
        "num_requests_running": engine.running,
        "num_requests_waiting": engine.waiting,
        "kv_cache_usage_perc": engine.cache_usage,
    }
    totals: dict[str, float] = {
        "prompt_tokens_total": counters.prompt_tokens,
        "generation_tokens_total": counters.generated_tokens,
        "prefix_cache_queries_total": counters.cache_queries,
        "prefix_cache_hits_total": counters.cache_hits,
        "num_preemptions_total": 0,
    }
    lines = []
    for kind, values in (("gauge", gauges), ("counter", totals)):
        for name, value in values.items():
            lines += [f"# TYPE vllm:{name} {kind}", f"vllm:{name}{{{label}}} {float(value)}"]
    lines.append("# TYPE vllm:request_success_total counter")
    for reason, count in sorted(counters.finished.items()):
        lines.append(f'vllm:request_success_total{{finished_reason="{reason}",{label}}} {float(count)}')
    return web.Response(text="\n".join(lines) + "\n", content_type="text/plain", charset="utf-8")
