"""The model calls of a run as they went over the wire, kept beside it on request."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scripted_server import ScriptedRequest, ScriptedServer, error, reply

from rollway.evaluation import evaluate_async
from rollway.trajectory import decode_trajectory

Config = Callable[..., Any]
KEY = "sk-0123456789abcdef"


def kept(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for part in sorted(run.glob("calls/*")) for line in part.open()]


async def test_every_request_and_every_reply_is_kept_as_it_was(
    config: Config, solver: Callable[[ScriptedRequest], Any], tmp_path: Path
) -> None:
    def busy_once(request: ScriptedRequest) -> Any:
        return error(503, "one moment") if request.index == 0 else solver(request)

    async with ScriptedServer(busy_once) as server:
        await evaluate_async(config(server, tasks=1, record_calls=True))
        sent = server.requests
    found = kept(tmp_path / "run")
    assert [each["request"] for each in found] == [request.body for request in sent]
    assert [each["status"] for each in found] == [503, 200, 200]
    assert [each["request_id"] for each in found] == [each.headers["x-request-id"] for each in sent]
    assert {(each["task_id"], each["sample_index"]) for each in found} == {("test-0", 0)}
    assert "one moment" in found[0]["reply"]
    assert json.loads(found[2]["reply"])["choices"][0]["message"]["content"] == "The answer is 1."


async def test_a_run_keeps_no_calls_unless_it_is_asked_to(
    policy: ScriptedServer, config: Config, tmp_path: Path
) -> None:
    await evaluate_async(config(policy, tasks=1))
    assert not (tmp_path / "run" / "calls").exists()


@pytest.mark.parametrize("backend", ["chat", "openai"])
async def test_no_key_is_kept(
    backend: str, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def echo(request: ScriptedRequest) -> Any:
        return error(401, f"incorrect key provided: {KEY}")

    monkeypatch.setenv("MY_KEY", KEY)
    async with ScriptedServer(echo) as server:
        asked = config(server, tasks=1, record_calls=True, sampling={"extra": {"api_key": "of another"}})
        url = f"{server.url}/v1" if backend == "openai" else server.url
        model = msgspec.structs.replace(
            asked.model, base_url=url, backend=backend, api_key_env="MY_KEY", name="scripted"
        )
        with pytest.raises(Exception, match=r"(?s)incorrect key"):
            await evaluate_async(msgspec.structs.replace(asked, model=model))
        assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    (only,) = kept(tmp_path / "run")
    assert only["request"]["api_key"] == "***"
    assert "incorrect key provided: ***" in only["reply"]
    assert KEY not in str(only)


async def test_a_run_is_gone_on_with_whether_its_calls_are_kept_or_not(
    config: Config, tmp_path: Path
) -> None:
    def script(request: ScriptedRequest) -> Any:
        return reply("The answer is 1.")

    async with ScriptedServer(script) as server:
        await evaluate_async(config(server, tasks=1, record_calls=True))
        await evaluate_async(config(server, tasks=1, samples=2, record_calls=True))
        await evaluate_async(config(server, tasks=1, samples=3))
    run = tmp_path / "run"
    assert [each["sample_index"] for each in kept(run)] == [0, 1]
    assert len(list(run.glob("calls/part-*.jsonl"))) == 2
    lines = [line for part in run.glob("trajectories/*") for line in part.open("rb")]
    ids = {decode_trajectory(line).id for line in lines}
    assert {each["request_id"].rpartition("-")[0] for each in kept(run)} < ids
