"""In chat mode a run tells a prompt that is only split otherwise, where the model's folder is at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import ScriptedRequest, ScriptedServer, Step, reply
from token_script import letters

from rollway.embedded.policy import find_policy
from rollway.errors import UserError
from rollway.evaluation import evaluate_async
from rollway.evaluation.clients import open_decode
from rollway.evaluation.config import EvalConfig, ModelConfig
from rollway.evaluation.run_directory import read_trajectories
from rollway.inference.chat_template import ChatTemplate
from rollway.inference.folder_tokenizer import FolderTokenizer
from rollway.trajectory import FitReason, PromptFit

Config = Callable[..., EvalConfig]
FOLDER = find_policy("calculator")


class Respelling:
    """Samples every reply letter by letter, and makes of it what the tokenizer does when it comes back."""

    def __init__(self, solver: Callable[[ScriptedRequest], dict[str, Any]]) -> None:
        self._solver = solver
        self._template = ChatTemplate(FOLDER)
        self._tokenizer = FolderTokenizer(FOLDER)

    def __call__(self, request: ScriptedRequest) -> dict[str, Any]:
        asked, tools = request.body["messages"], request.body["tools"]
        answer = self._solver(request)["choices"][0]["message"]
        before = self._template.render(asked, tools)
        after = self._template.render([*asked, answer], tools, add_generation_prompt=False)
        calls = [
            (call["function"]["name"], call["function"]["arguments"]) for call in answer.get("tool_calls", ())
        ]
        return reply(
            answer["content"],
            tool_calls=calls,
            prompt_token_ids=self._tokenizer.encode(before),
            token_ids=letters(after.removeprefix(before).rstrip("\n"), self._tokenizer),
        )


def models(root: str) -> Step:
    return Step({"object": "list", "data": [{"id": "m", "object": "model", "root": root}]})


@pytest.mark.parametrize(
    ("root", "named", "fit", "reason"),
    [
        (str(FOLDER), None, PromptFit.REALIGNED, FitReason.OTHER_SPLIT),
        ("hub/name", str(FOLDER), PromptFit.REALIGNED, FitReason.OTHER_SPLIT),
        ("hub/name", None, PromptFit.FORKED, FitReason.REPLY_REWRITTEN),
    ],
    ids=["the server names the folder", "model.folder names it", "nobody names it"],
)
async def test_another_split_is_told_where_the_folder_is_at_hand(
    solver: Any,
    config: Config,
    tmp_path: Path,
    root: str,
    named: str | None,
    fit: PromptFit,
    reason: FitReason,
) -> None:
    async with ScriptedServer(Respelling(solver), models=models(root)) as server:
        summary = await evaluate_async(config(server, model={"base_url": server.url, "folder": named}))
    assert summary.scored == 6
    for trajectory in read_trajectories(tmp_path / "run"):
        _, second = trajectory.turns
        assert (second.prompt_fit, second.prompt_fit_reason) == (fit, reason)
        assert trajectory.metrics[f"turns_{fit.value}"] == 1


async def test_a_folder_without_a_tokenizer_is_told_before_a_rollout(
    policy: ScriptedServer, config: Config, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=r"^model\.folder: .* has no tokenizer\.json; set it to the model's own"
    ):
        await evaluate_async(config(policy, model={"base_url": policy.url, "folder": str(tmp_path)}))
    assert not (tmp_path / "run").exists()


def test_a_run_that_needs_no_text_reads_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("no tokenizer")
    decode = open_decode(ModelConfig(folder=str(tmp_path)))
    assert decode is not None
    with pytest.raises(UserError, match="is not a tokenizer"):
        decode([1])


@pytest.mark.parametrize("model", [ModelConfig(), ModelConfig(backend="token", folder=str(FOLDER))])
def test_ids_are_not_decoded_without_a_folder_or_in_token_mode(model: ModelConfig) -> None:
    assert open_decode(model) is None
