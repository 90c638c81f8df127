"""A run resumes if it requests the same rollouts; how it executes may change."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from stored_runs import CONFIG, opened

from rollway.errors import UserError
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.run_directory import open_run, stored_config
from rollway.evaluation.run_directory.same_run import difference, differing_field, grown


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"samples": 1}, "samples was 2 and is now 1 (a run can grow by tasks and samples, not shrink)"),
        ({"tasks": 5}, "tasks was None and is now 5 (a run can grow"),
        ({"task_ids": ["a"]}, "task_ids was None and is now ['a'] (a run can grow"),
        ({"sampling": {"temperature": 0.5}}, "sampling.temperature was None and is now 0.5"),
        ({"limits": {"max_turns": 4}}, "limits.max_turns was 30 and is now 4"),
        ({"environment_args": {"a": 1}}, "environment_args was {} and is now {'a': 1}"),
        ({"model": {"policy": "calculator-weak"}}, "model.policy"),
        ({"seed": 1}, "seed was 0 and is now 1"),
    ],
)
def test_a_run_of_another_configuration_is_refused_by_the_field_that_differs(
    tmp_path: Path, changes: dict[str, object], field: str
) -> None:
    opened(tmp_path).close()
    other = EvalConfig(**(CONFIG.as_dict() | changes))
    with pytest.raises(UserError, match="run with a different configuration") as error:
        open_run(tmp_path, other)
    assert field in str(error.value)


@pytest.mark.parametrize(
    ("before", "after", "shrunk"),
    [
        ({"tasks": 5}, {"tasks": 6}, None),
        ({"tasks": 5}, {}, None),
        ({"tasks": 5}, {"tasks": 4}, "tasks"),
        ({"tasks": 5}, {"task_ids": ["a", "b"]}, "task_ids"),
        ({"task_ids": ["a", "b"]}, {"task_ids": ["c", "b", "a"]}, None),
        ({"task_ids": ["a", "b"]}, {"task_ids": ["b", "c"]}, "task_ids"),
        ({"task_ids": ["a", "b"]}, {}, None),
        ({"task_ids": ["a", "b"]}, {"tasks": 9}, "tasks"),
        ({"tasks": 5}, {"tasks": 6, "samples": 4}, None),
        ({"tasks": 5}, {"tasks": 6, "samples": 1}, "samples"),
        ({"tasks": 5}, {"tasks": 6, "seed": 1}, "seed"),
    ],
)
def test_a_run_can_grow_and_not_shrink(
    before: dict[str, object], after: dict[str, object], shrunk: str | None
) -> None:
    stored, config = (EvalConfig(**(CONFIG.as_dict() | changes)) for changes in (before, after))
    told = difference(stored, config)
    assert told is None if shrunk is None else told is not None and told.startswith(f"{shrunk} was ")


@pytest.mark.parametrize(
    ("before", "after", "tasks", "samples", "told"),
    [
        ({"tasks": 10, "samples": 4}, {"tasks": 20, "samples": 2}, 20, 4, "samples stays 4"),
        ({"tasks": 10, "samples": 4}, {"samples": 2}, None, 4, "samples stays 4"),
        ({"tasks": 20, "samples": 2}, {"tasks": 10, "samples": 4}, 20, 4, "tasks stays 20"),
        ({"samples": 2}, {"tasks": 10, "samples": 4}, None, 4, "tasks stays all"),
        ({"tasks": 10, "samples": 4}, {"tasks": 10, "samples": 2}, 10, 2, None),
        ({"tasks": 10, "samples": 4}, {"tasks": 5, "samples": 2}, 5, 2, None),
        ({"tasks": 10, "samples": 2}, {"tasks": 20, "samples": 4}, 20, 4, None),
    ],
)
def test_a_run_that_grows_in_one_direction_keeps_what_it_has_in_the_other(
    before: dict[str, object], after: dict[str, object], tasks: int | None, samples: int, told: str | None
) -> None:
    stored, config = (EvalConfig(**(CONFIG.as_dict() | changes)) for changes in (before, after))
    wider, line = grown(stored, config)
    assert (wider.tasks, wider.samples) == (tasks, samples)
    assert line is None if told is None else line is not None and line.startswith(told)


def test_a_run_has_grown_when_it_goes_on_and_not_before(tmp_path: Path) -> None:
    opened(tmp_path).close()
    before = (tmp_path / "config.yaml").read_bytes()
    larger = EvalConfig(**(CONFIG.as_dict() | {"samples": 3}))
    with open_run(tmp_path, larger) as run:
        assert (tmp_path / "config.yaml").read_bytes() == before
        run.clear_away()
    assert stored_config(tmp_path) == larger
    with pytest.raises(UserError, match="samples was 3 and is now 2"):
        open_run(tmp_path, CONFIG)


def test_how_a_run_is_done_may_change(tmp_path: Path) -> None:
    opened(tmp_path).close()
    changed = {"workers": 7, "concurrency": 3, "wandb": {"enabled": True}, "out": "elsewhere"}
    open_run(tmp_path, EvalConfig(**(CONFIG.as_dict() | changed))).close()


def test_a_field_that_came_later_has_its_default_in_an_older_run(tmp_path: Path) -> None:
    opened(tmp_path).close()
    stored = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del stored["reasoning_parser"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(stored))
    opened(tmp_path).close()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model": None}, "model: should be a section of fields"),
        ({"model": 3}, "model: should be a section of fields"),
        ({"limits": []}, "limits: "),
        ({"samples": "two"}, "samples: should be a whole number of at least 1, not 'two'"),
        ({"no_such_field": 1}, "no_such_field: unknown field"),
        ({"environment": None}, "environment: "),
    ],
)
def test_a_stored_config_that_is_none_is_told_by_its_file_and_field(
    tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    opened(tmp_path).close()
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))
    with pytest.raises(UserError) as error:
        open_run(tmp_path, CONFIG)
    assert str(error.value).startswith(f"{file}: {complaint}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[1, 2]", b"", b"a: [", b"a: \0"])
def test_a_stored_config_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"config.yaml[^\n]*$"):
        open_run(tmp_path, CONFIG)


def test_fields_that_one_side_lacks_differ() -> None:
    assert differing_field({"a": 1}, {"a": 1, "b": {"c": 2}}) == "b"
    assert differing_field({"a": {"b": 1}}, {"a": {"b": 2}}) == "a.b"
    assert differing_field({"workers": 1}, {"workers": 2}) is None
