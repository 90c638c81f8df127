"""``/tokenize`` and ``/detokenize``: prompts as ids without generating."""

from __future__ import annotations

from aiohttp import web

from rollway.embedded.server.context import check_model, check_vocabulary, json_reply, read_body
from rollway.embedded.server.errors import invalid_body
from rollway.embedded.server.requests import DetokenizeRequest, TokenizeRequest


def routes() -> list[web.RouteDef]:
    """The endpoints of this file."""
    return [
        web.post("/tokenize", tokenize),
        web.post("/detokenize", detokenize),
    ]


async def tokenize(request: web.Request) -> web.Response:
    """The ids of a text, or of a chat as `/v1/chat/completions` would see it."""
    context, body = await read_body(request, TokenizeRequest)
    check_model(context, body.model)
    tokenizer = context.policy.tokenizer
    if body.messages is not None:
        text = context.policy.template.render(
            body.messages,
            body.tools,
            add_generation_prompt=body.add_generation_prompt,
            **(body.chat_template_kwargs or {}),
        )
        tokens = tokenizer.encode(text, add_special_tokens=bool(body.add_special_tokens))
    elif body.prompt is not None:
        tokens = tokenizer.encode(body.prompt, add_special_tokens=body.add_special_tokens is not False)
    else:
        raise invalid_body("either `prompt` or `messages` is required", "prompt")
    return json_reply(
        {
            "count": len(tokens),
            "max_model_len": context.max_length,
            "tokens": tokens,
            "token_strs": tokenizer.token_strings(tokens) if body.return_token_strs else None,
        }
    )


async def detokenize(request: web.Request) -> web.Response:
    """The text of ids, special tokens included."""
    context, body = await read_body(request, DetokenizeRequest)
    check_model(context, body.model)
    check_vocabulary(context, body.tokens)
    return json_reply({"prompt": context.policy.tokenizer.decode(body.tokens)})
