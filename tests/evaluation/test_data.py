"""A run over data: resumed over the very same rows or refused, and its workers need none of the files."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import datasets
import msgspec
import pyarrow
import pyarrow.parquet
import pytest

from rollway import Environment
from rollway.environments.hooks import prompt_of
from rollway.environments.loading import environment_source
from rollway.errors import UserError
from rollway.evaluation import evaluate_async
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.config_files import load_config
from rollway.evaluation.plan import prepare
from rollway.evaluation.run_directory import part_files, read_config, stored_config
from rollway.evaluation.tasks import load_tasks
from rollway.evaluation.worker import RolloutWorker, WorkerSpec
from rollway.scoring import score_run


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    """Five rows of the small environment, the second twice, without ids."""
    file = tmp_path / "rows.jsonl"
    write(file, [10, 11, 11, 12, 13])
    return file


def write(file: Path, numbers: list[int]) -> None:
    file.write_text("".join(json.dumps({"n": n}) + "\n" for n in numbers))


async def test_rows_take_the_place_of_the_environments_tasks(config, policy, rows_file, stored) -> None:
    summary = await evaluate_async(config(policy, data=str(rows_file), samples=2))
    assert (summary.tasks, summary.scored, summary.mean_reward.mean) == (5, 10, 1.0)
    asked = [t.messages[0]["content"] for t in stored(rows_file.parent / "run").values()]
    assert sorted(asked) == sorted(f"What is {n} + 1?" for n in (10, 11, 11, 12, 13) * 2)


@pytest.mark.parametrize("has_ids", [True, False])
async def test_a_run_that_was_cut_short_does_what_is_missing_and_nothing_twice(
    config, policy, rows_file, stored, has_ids
) -> None:
    if has_ids:
        rows = [{"task_id": str(n), "n": n} for n in range(5)]
        rows_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    await evaluate_async(config(policy, data=str(rows_file)))
    before = stored(rows_file.parent / "run")
    (part,) = part_files(rows_file.parent / "run")
    lines = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join(lines[1:3]))
    asked = len(policy.requests)
    summary = await evaluate_async(load_config(str(rows_file.parent / "run" / "config.yaml")))
    after = stored(rows_file.parent / "run")
    assert summary.finished == 5
    assert after.keys() == before.keys()
    assert sum(after[key].id == before[key].id for key in after) == 2
    assert len(policy.requests) == asked + 3 * 2


async def test_a_run_over_other_rows_is_refused(config, policy, rows_file) -> None:
    await evaluate_async(config(policy, data=str(rows_file)))
    stored = read_config(rows_file.parent / "run")["data"]
    assert stored["source"] == str(rows_file)
    assert stored["split"] == "test"
    other = rows_file.with_name("other.jsonl")
    write(other, [10])
    with pytest.raises(UserError, match=r"data\.source was '.*rows.jsonl' and is now '.*other.jsonl'"):
        prepare(config(policy, data=str(other)))
    with pytest.raises(UserError, match=r"data was {'source'.* and is now None"):
        prepare(config(policy))
    write(rows_file, [10, 11, 11, 12, 14])
    with pytest.raises(UserError, match=r"data\.fingerprint was '\w+' and is now '\w+'"):
        prepare(config(policy, data=str(rows_file)))
    with pytest.raises(UserError, match=r"rows.jsonl is not what it was when the run began"):
        prepare(stored_config(rows_file.parent / "run"))


def test_a_prompt_that_reads_a_column_which_is_not_there_is_refused(config, rows_file) -> None:
    rows_file.write_text('{"number": 1}\n')
    with pytest.raises(
        UserError, match=r"rows.jsonl has no 'n', which Sums.prompt reads; it has: number, task_id"
    ):
        prepare(config("http://127.0.0.1:9", data=str(rows_file)))


def test_tasks_of_data_are_chosen_by_number_and_by_id(config, rows_file) -> None:
    everything = prepare(config("http://127.0.0.1:9", data=str(rows_file)))
    ids = list(everything.tasks.ids())
    assert everything.told.startswith("5 rollouts of Sums (test of ")
    few = prepare(config("http://127.0.0.1:9", data=str(rows_file), tasks=2))
    assert list(few.tasks.ids()) == ids[:2]
    some = prepare(config("http://127.0.0.1:9", data=str(rows_file), task_ids=[ids[4], ids[1]]))
    assert [job.task["n"] for job in some.tasks.jobs(some.config, set())] == [13, 11]
    with pytest.raises(UserError, match=f"has no task 'x{ids[0]}' .did you mean '{ids[0]}'"):
        prepare(config("http://127.0.0.1:9", data=str(rows_file), task_ids=[f"x{ids[0]}"]))


async def test_a_worker_needs_none_of_the_files(config, policy, rows_file) -> None:
    plan = prepare(config(policy, data=str(rows_file)).resolved())
    (job, *_) = plan.tasks.jobs(plan.config, set())
    rows_file.unlink()
    model = msgspec.structs.replace(plan.config.model, name="scripted")
    config_of_worker = msgspec.structs.replace(plan.config, model=model)
    source = environment_source(plan.config.environment)
    worker = RolloutWorker(WorkerSpec(config_of_worker.as_dict(), None, source))
    await worker.open()
    try:
        assert (await worker.run(job)).reward == 1.0
    finally:
        await worker.close()


async def test_a_run_over_data_is_scored_again_with_its_rows(config, policy, rows_file) -> None:
    await evaluate_async(config(policy, data=str(rows_file)))
    summary = await asyncio.to_thread(score_run, rows_file.parent / "run")
    assert (summary.scored, summary.mean_reward.mean) == (5, 1.0)
    write(rows_file, [1])
    with pytest.raises(UserError, match="is not what it was when the run began"):
        await asyncio.to_thread(score_run, rows_file.parent / "run", overwrite=True)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("rows.jsonl", {"source": "rows.jsonl"}),
        ({"source": "openai/gsm8k", "name": "main"}, {"source": "openai/gsm8k", "name": "main"}),
    ],
)
def test_data_is_a_text_or_a_section(values: Any, expected: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps({"environment": "calculator", "data": values}))
    found = load_config(str(file), {"data.split": "dev"}).as_dict()["data"]
    assert found == {
        "name": None,
        "revision": None,
        "fingerprint": None,
        **expected,
        "split": "dev",
    }


def test_a_name_on_the_hub_stays_as_it_is_and_a_path_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hub = EvalConfig(environment="calculator", data="openai/gsm8k").resolved()
    assert hub.data is not None
    assert hub.dataset.source == "openai/gsm8k"
    here = EvalConfig(environment="calculator", data="rows.jsonl").resolved()
    assert here.data is not None
    assert here.dataset.source == str(tmp_path / "rows.jsonl")


class Talk(Environment):
    def __init__(self, greeting: str = "") -> None:
        self.greeting = greeting

    def prompt(self, task):
        return task["messages"]


def test_an_environment_is_made_from_a_dataset(tmp_path: Path) -> None:
    environment = Talk.from_dataset(tmp_path / "talk.parquet", environment_args={"greeting": "Hi"})
    assert isinstance(environment, Talk)
    assert environment.greeting == "Hi"
    with pytest.raises(UserError, match="there is no file or folder"):
        load_tasks(environment, EvalConfig(environment="x"))
    rows = [
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}]},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "talk.parquet")
    tasks = load_tasks(environment, EvalConfig(environment="x"))
    prompts = [prompt_of(environment, job.task) for job in tasks.jobs(EvalConfig(environment="x"), set())]
    assert prompts == [row["messages"] for row in rows]


def test_keys_that_an_arrow_table_filled_in_are_absent_on_the_wire() -> None:
    dataset = datasets.Dataset.from_list(
        [
            {"messages": [{"role": "user", "content": "Hi"}]},
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
                    }
                ]
            },
        ]
    )
    assert dataset[0]["messages"][0]["tool_calls"] is None, "or this test says nothing"
    assert prompt_of(Talk(), dataset[0]) == [{"role": "user", "content": "Hi"}]
    given = {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": {"x": None}}}]}
    assert prompt_of(Talk(), {"messages": [given]}) == [given], "what a call's arguments say is kept"
