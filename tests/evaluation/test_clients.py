"""What is found out about the model's server before the first rollout."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_server import ScriptedServer, Step

from rollway.errors import UserError
from rollway.evaluation.clients import check_server
from rollway.evaluation.config import EvalConfig, validate


def config(url: str, max_tokens: int, **model: Any) -> EvalConfig:
    values = {"base_url": url, "name": "m", **model}
    return validate(
        {"environment": "calculator", "model": values, "sampling": {"max_tokens": max_tokens}}, "test"
    )


@pytest.mark.parametrize("backend", ["chat", "openai", "token"])
async def test_a_max_tokens_that_no_prompt_leaves_room_for_is_refused_at_the_start(backend: str) -> None:
    from rollway.embedded.policy import find_policy

    model: dict[str, Any] = {"backend": backend}
    if backend == "token":
        model |= {"folder": str(find_policy("calculator")), "endpoint": "generate"}
    models = Step({"object": "list", "data": [{"id": "m", "max_model_len": 4096}]})
    async with ScriptedServer(models=models) as server:
        url = f"{server.url}/v1"
        with pytest.raises(UserError, match=r"sampling\.max_tokens is 4096, but the context .* holds 4096"):
            await check_server(config(url, 4096, **model), "key")
        assert (await check_server(config(url, 4095, **model), "key")).name == "m"


async def test_a_server_that_does_not_list_its_context_is_taken_at_its_word() -> None:
    async with ScriptedServer(models=["m"]) as server:
        assert (await check_server(config(server.url, 10**6), None)).name == "m"
