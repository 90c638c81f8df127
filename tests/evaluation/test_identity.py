"""A run goes on with the tasks, environment and weights that it began with, or says that it does not."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console
from scripted_server import ScriptedServer, error

from rollway.errors import UserError
from rollway.evaluation import RunFailed, evaluate_async
from rollway.evaluation.config_files import load_stored_config
from rollway.evaluation.summary import read_summary
from rollway.stored.identity import read_identity

Config = Callable[..., Any]


@pytest.fixture
async def half_way(config: Config, solver, tmp_path: Path) -> AsyncIterator[ScriptedServer]:
    """The server of a run in which three of six rollouts failed, with the server well again."""
    ill = True

    def sometimes(request: Any) -> Any:
        n = int(request.body["messages"][0]["content"].split()[2])
        return error(400, "no") if ill and n % 2 else solver(request)

    async with ScriptedServer(sometimes) as server:
        assert (await evaluate_async(config(server))).failed == 3
        ill = False
        yield server


def on_disk(run: Path) -> dict[str, bytes]:
    files = (path for path in run.rglob("*") if path.is_file() and path.name not in ("lock", "log.txt"))
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


async def refused(half_way: ScriptedServer, settings: Any, match: str) -> None:
    """Nothing is asked, and nothing on disk changes."""
    asked, before = len(half_way.requests), on_disk(Path(settings.out))
    with pytest.raises(UserError, match=match) as told:
        await evaluate_async(settings)
    assert "\n" not in str(told.value)
    assert len(half_way.requests) == asked
    assert on_disk(Path(settings.out)) == before


async def test_a_run_that_is_as_it_was_goes_on(half_way, config: Config, tmp_path: Path) -> None:
    summary = await evaluate_async(config(half_way))
    assert (summary.scored, summary.allowed) == (6, [])


TASKS = '[{"task_id": f"{split}-{n}", "n": n} for n in range(self.size)]'


def read_from_file(edit_environment: Callable[[str, str], None], tmp_path: Path) -> Path:
    """Make the environment read its tasks from a file, so that they change and its source does not."""
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps([{"task_id": f"test-{n}", "n": n} for n in range(6)]))
    edit_environment(f"return {TASKS}", f"import json\n        return json.load(open({str(rows)!r}))")
    return rows


async def test_changed_tasks_are_refused_by_name_and_mixed_only_where_somebody_says_so(
    config: Config, edit_environment, solver, tmp_path: Path
) -> None:
    rows = read_from_file(edit_environment, tmp_path)
    ill = True

    def sometimes(request: Any) -> Any:
        n = int(request.body["messages"][0]["content"].split()[2])
        return error(400, "no") if ill and n == 5 else solver(request)

    async with ScriptedServer(sometimes) as server:
        await evaluate_async(config(server))
        ill = False
        rows.write_text(json.dumps([{"task_id": f"test-{n}", "n": 5 - n} for n in range(6)]))
        await refused(
            server,
            config(server),
            r"task 'test-0' is not .*its 'n' changed\), and 4 more.*--allow-changed-tasks",
        )
        out = io.StringIO()
        console = Console(file=out, width=200)
        summary = await evaluate_async(config(server), allow={"changed-tasks"}, console=console)
        assert summary.allowed == ["changed-tasks"]
        assert "task 'test-0' is not what it was" in out.getvalue()
        assert "mixed" in out.getvalue()
        assert "mixed" in (tmp_path / "run" / "report.html").read_text()
        larger = config(server, samples=2)
        summary = await evaluate_async(larger)
        assert summary.allowed == ["changed-tasks"], "it is not said once and forgotten"
        assert read_summary(tmp_path / "run" / "summary.json").allowed == ["changed-tasks"]


async def test_ids_that_mean_other_tasks_at_each_start_are_never_mixed(
    half_way, config: Config, edit_environment, tmp_path: Path
) -> None:
    """The source is the same: it only depends on when it is asked."""
    identity = read_identity(tmp_path / "run")
    assert identity is not None
    edit_environment('"n": n}', '"n": n + 10}')
    now = msgspec.structs.replace(identity, source={})
    (tmp_path / "run" / "identity.json").write_bytes(msgspec.json.encode(now))
    await refused(half_way, config(half_way), "task 'test-0' is not what it was")


async def test_tasks_that_are_gone_are_told_before_their_rollouts_are_set_aside(
    policy, config: Config, edit_environment, tmp_path: Path
) -> None:
    rows = read_from_file(edit_environment, tmp_path)
    await evaluate_async(config(policy))
    rows.write_text(json.dumps([{"task_id": f"test-{n}", "n": n} for n in range(4)]))
    await refused(policy, config(policy), r"task 'test-4' is on record, and the environment no longer has it")
    summary = await evaluate_async(config(policy), allow=["changed-tasks"])
    assert (summary.asked, summary.scored, summary.allowed) == (4, 4, ["changed-tasks"])


async def test_tasks_may_be_added(policy, config: Config, edit_environment, tmp_path: Path) -> None:
    rows = read_from_file(edit_environment, tmp_path)
    await evaluate_async(config(policy))
    rows.write_text(json.dumps([{"task_id": f"test-{n}", "n": n} for n in range(8)]))
    summary = await evaluate_async(config(policy))
    assert (summary.scored, summary.allowed) == (8, [])


async def test_an_edited_environment_is_refused(half_way, config: Config, edit_environment) -> None:
    edit_environment("Add two integers.", "Add two whole numbers.")
    await refused(
        half_way,
        config(half_way),
        r"environment's source is not .*sums.py changed.*--allow-changed-environment",
    )
    summary = await evaluate_async(config(half_way), allow={"changed-environment"})
    assert (summary.scored, summary.allowed) == (6, ["changed-environment"])


async def test_a_module_beside_the_environment_belongs_to_it(
    config: Config, edit_environment, environment_file: Path, solver
) -> None:
    helper = environment_file.parent / "judging_helper.py"
    helper.write_text("PLUS = 1\n")
    edit_environment(
        "def right(trajectory, task):\n", "def right(trajectory, task):\n    import judging_helper  # noqa\n"
    )
    ill = True
    async with ScriptedServer(lambda r: error(400, "no") if ill and r.index > 4 else solver(r)) as server:
        await evaluate_async(config(server, concurrency=1, stop_after_failures=None))
        ill = False
        helper.write_text("PLUS = 2\n")
        await refused(server, config(server), "judging_helper.py changed")


async def test_an_environment_may_be_mended_while_nothing_counts_yet(
    policy, config: Config, edit_environment
) -> None:
    edit_environment("def prompt(self, task):\n", "def prompt(self, task):\n        raise KeyError('oh')\n")
    with pytest.raises(RunFailed):
        await evaluate_async(config(policy))
    edit_environment("        raise KeyError('oh')\n", "")
    summary = await evaluate_async(config(policy))
    assert (summary.scored, summary.allowed) == (6, [])


async def test_a_finished_run_may_have_an_edited_environment(
    policy, config: Config, edit_environment
) -> None:
    first = await evaluate_async(config(policy))
    edit_environment("Add two integers.", "Add two whole numbers.")
    assert await evaluate_async(config(policy)) == first


def serving(script: Any, **entry: Any) -> ScriptedServer:
    from scripted_server import Step

    listed = {"object": "list", "data": [{"id": "m", "object": "model", **entry}]}
    return ScriptedServer(script, models=Step(body=listed))


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"root": "org/a"}, {"root": "org/b"}, "root was 'org/a' and is 'org/b'"),
        ({"max_model_len": 4096}, {"max_model_len": 2048}, "max_model_len was 4096 and is 2048"),
        ({"weight_version": "1"}, {"weight_version": "2"}, "weight_version was '1' and is '2'"),
    ],
)
async def test_other_weights_are_refused(
    before: dict[str, Any], now: dict[str, Any], told: str, config: Config, solver
) -> None:
    async with serving(lambda r: error(400, "no") if r.index > 4 else solver(r), **before) as server:
        await evaluate_async(config(server, concurrency=1))
    async with serving(solver, **now) as server:
        await refused(server, config(server), f"the model is not .*{told}.*--allow-other-weights")
        summary = await evaluate_async(config(server), allow={"other-weights"})
    assert (summary.scored, summary.allowed) == (6, ["other-weights"])


@pytest.mark.parametrize("path", ["/model_info", "/get_model_info"])
async def test_the_version_of_the_weights_is_asked_for(
    path: str, config: Config, solver, tmp_path: Path
) -> None:
    def failing(request: Any) -> Any:
        return error(400, "no") if request.index > 4 else solver(request)

    async with ScriptedServer(failing, pages={path: {"model_path": "/m", "weight_version": "v1"}}) as server:
        await evaluate_async(config(server, concurrency=1))
    identity = read_identity(tmp_path / "run")
    assert identity is not None
    assert identity.served is not None
    assert (identity.served.weight_version, identity.served.root) == ("v1", "/m")
    async with ScriptedServer(solver, pages={path: {"model_path": "/m", "weight_version": "v2"}}) as server:
        await refused(server, config(server), "weight_version was 'v1' and is 'v2'")


async def test_weights_that_changed_in_their_folder_are_refused(
    config: Config, solver, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"one")
    async with serving(lambda r: error(400, "no") if r.index > 4 else solver(r), root=str(folder)) as server:
        await evaluate_async(config(server, concurrency=1))
        (folder / "model.safetensors").write_bytes(b"two")
        await refused(server, config(server), "the files of its folder changed")
    moved = folder.rename(tmp_path / "elsewhere")
    (moved / "model.safetensors").write_bytes(b"one")
    async with serving(solver, root=str(moved)) as server:
        assert (await evaluate_async(config(server))).scored == 6


async def test_an_older_run_is_gone_on_with_and_the_gap_is_told(
    half_way, config: Config, tmp_path: Path
) -> None:
    (tmp_path / "run" / "identity.json").unlink()
    (tmp_path / "run" / "tasks.jsonl").unlink()
    out = io.StringIO()
    summary = await evaluate_async(config(half_way), console=Console(file=out, width=400))
    assert (summary.scored, summary.allowed) == (6, [])
    assert "the run has no identity.json" in out.getvalue()
    assert read_identity(tmp_path / "run") is not None


async def test_an_unknown_allowance_is_told(half_way, config: Config) -> None:
    with pytest.raises(UserError, match=r"allow: 'changed_tasks' is unknown .did you mean 'changed-tasks'"):
        await evaluate_async(config(half_way), allow={"changed_tasks"})


async def test_a_torn_digest_harms_nothing(policy, config: Config, edit_environment, tmp_path: Path) -> None:
    rows = read_from_file(edit_environment, tmp_path)
    await evaluate_async(config(policy))
    with (tmp_path / "run" / "tasks.jsonl").open("ab") as file:
        file.write(b'{"task_id":"te')
    rows.write_text(json.dumps([{"task_id": f"test-{n}", "n": n} for n in range(8)]))
    assert (await evaluate_async(config(policy))).scored == 8
    lines = (tmp_path / "run" / "tasks.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["task_id"] for line in lines] == [f"test-{n}" for n in range(8)]


async def test_flags_are_not_kept_for_the_next_start(
    half_way, config: Config, edit_environment, tmp_path: Path
) -> None:
    edit_environment("Add two integers.", "Add two whole numbers.")
    await evaluate_async(config(half_way), allow={"changed-environment"})
    edit_environment("Add two whole numbers.", "Add.")
    settings = load_stored_config(tmp_path / "run", {"samples": 2})
    await refused(half_way, settings, "environment's source is not what it was")
