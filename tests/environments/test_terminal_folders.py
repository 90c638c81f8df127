"""Task folders: both forms are read, and what cannot be run as it is meant is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollway.environments.terminal.dockerfiles import read_dockerfile
from rollway.environments.terminal.environment import TerminalEnvironment
from rollway.environments.terminal.task_folders import folders_of, read_folder
from rollway.environments.terminal.terminal_bench import read_pytest_output
from rollway.errors import UserError

MIB = 1 << 20
HARBOR = """
schema_version = "1.1"
artifacts = []

[task]
name = "somebody/counting"
keywords = ["counting"]

[metadata]
difficulty = "easy"
category = "counting"
tags = ["a", "b"]

[verifier]
timeout_sec = 120.0

[agent]
timeout_sec = 240.0

[environment]
build_timeout_sec = 600.0
docker_image = "somebody/counting:1"
cpus = 1
memory_mb = 2048
storage_mb = 4096
gpus = 0
allow_internet = false
mcp_servers = []

[verifier.env]
DEPTH = "3"

[environment.env]
COLOUR = "blue"

[solution.env]
"""
TERMINAL_BENCH = """
instruction: |-
  Count to ten.
  Then stop.
author_name: Somebody
difficulty: medium
category: counting
tags: [a]
parser_name: pytest
max_agent_timeout_sec: 900.0
max_test_timeout_sec: 180.0
run_tests_in_same_shell: false
expert_time_estimate_min:
"""


@pytest.fixture
def make(tmp_path: Path):
    def make(files: dict[str, str], name: str = "counting") -> Path:
        for path, text in files.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path / name

    return make


def harbor(config: str = HARBOR, **files: str) -> dict[str, str]:
    found = {"task.toml": config, "instruction.md": "\nCount.\n", "tests/test.sh": "exit 0\n"}
    return {**found, **{path.replace("__", "/"): text for path, text in files.items()}}


def old(config: str = TERMINAL_BENCH, **files: str) -> dict[str, str]:
    found = {"task.yaml": config, "run-tests.sh": "pytest -rA\n", "Dockerfile": "FROM python:3.13-slim\n"}
    return {**found, **files}


def refusal(folder: Path, *, trusted: bool = False) -> str:
    with pytest.raises(UserError) as refused:
        read_folder(folder, images={}, trusted=trusted)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_task_in_harbors_form_is_read_with_all_that_bears_on_its_run(make):
    task = read_folder(make(harbor()), images={}, trusted=False)
    assert (task.id, task.form, task.instruction, task.check) == ("counting", "harbor", "Count.", "script")
    assert (task.agent_timeout, task.check_timeout) == (240.0, 120.0)
    assert (task.image, task.memory, task.disk) == ("somebody/counting:1", 2048 * MIB, 4096 * MIB)
    assert (task.network, task.environment, task.check_environment) == (
        False,
        {"COLOUR": "blue"},
        {"DEPTH": "3"},
    )
    assert task.metadata["difficulty"] == "easy"


def test_a_task_in_terminal_benchs_form_is_read(make):
    task = read_folder(make(old()), images={}, trusted=False)
    assert (task.form, task.instruction) == ("terminal-bench", "Count to ten.\nThen stop.")
    assert (task.agent_timeout, task.check_timeout, task.network) == (900.0, 180.0, True)
    assert task.image == "python:3.13-slim"
    assert task.metadata == {"difficulty": "medium", "category": "counting"}


def test_an_older_list_of_descriptions_gives_the_instruction(make):
    config = "descriptions:\n  - key: hard\n    description: no\n  - key: base\n    description: Count.\n"
    assert read_folder(make(old(config)), images={}, trusted=False).instruction == "Count."


def test_a_sandbox_gets_the_tasks_image_limits_network_and_variables(make):
    environment = TerminalEnvironment(path=str(make(harbor()).parent))
    (task,) = environment.tasks("test")
    spec = environment.sandbox_for(task)
    assert (spec.backend, spec.image, spec.network) == ("docker", "somebody/counting:1", False)
    assert (spec.limits.memory, spec.limits.disk) == (2048 * MIB, 4096 * MIB)
    assert spec.environment == {"COLOUR": "blue"}
    assert task["agent_timeout"] == 240.0


def test_a_task_without_a_container_runs_in_any_sandbox_and_without_a_network(make):
    config = '[metadata]\ndifficulty = "easy"\n'
    environment = TerminalEnvironment(path=str(make(harbor(config)).parent), backend="local")
    (task,) = environment.tasks("test")
    spec = environment.sandbox_for(task)
    assert (spec.backend, spec.image, spec.network) == ("local", None, False)


def test_a_task_that_asks_for_a_service_says_so_or_is_named(make):
    make(harbor("[metadata]\nkeep_processes = true\n"), "one")
    folder = make(harbor(""), "two")
    make(harbor(""), "three")
    environment = TerminalEnvironment(path=str(folder.parent), keep_processes=["three"])
    kept = {task["task_id"]: environment.folder(task).keep_processes for task in environment.tasks("test")}
    assert kept == {"one": True, "two": False, "three": True}


@pytest.mark.parametrize("size", ['memory = "2G"', "memory_mb = 2048"])
def test_both_ways_to_write_a_size_are_read(make, size):
    folder = make(harbor(f'[environment]\ndocker_image = "x"\n{size}\n'))
    assert read_folder(folder, images={}, trusted=False).memory == 2048 * MIB


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[environment]\ngpus = 1", "gpus is not supported"),
        ("[environment]\nmcp_servers = [{name = 'x'}]", "mcp_servers is not supported"),
        ("[environment]\nnetwork_mode = 'allowlist'", "network_mode 'allowlist' is not supported"),
        ("[environment]\nallowed_hosts = ['example.com']", "allowed_hosts is not supported"),
        ("[environment]\nos = 'windows'", "os must be linux"),
        ("[environment]\nmemory = 'much'", "memory must look like '512M' or '2G', got 'much'"),
        ("[environment]\nmemory_mb = -1", "memory_mb must be a number of at least 0"),
        ("[environment]\ndocker_image = 3", "docker_image must be a string, got 3"),
        ("[environment.env]\nKEY = '${KEY}'", "env.KEY must be a plain string"),
        ("[environment]\nteleport = true", "cannot run a task with teleport: unknown"),
        ("[verifier]\nuser = 'grader'", "user 'grader' is not supported"),
        ("[verifier]\nenvironment_mode = 'separate'", "environment_mode must be shared"),
        ("[agent]\nnetwork_mode = 'public'", "network_mode is not supported for a single phase"),
        ("[[steps]]\nname = 'one'", "steps are not supported"),
        ("environment = 3", "expected a table, got int"),
        ("= 3", "is not valid TOML"),
    ],
)
def test_what_harbor_can_do_and_a_sandbox_here_cannot_is_refused(make, line, expected):
    told = refusal(make(harbor(line + "\n")))
    assert expected in told
    assert "task.toml" in told


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            TERMINAL_BENCH.replace("same_shell: false", "same_shell: true"),
            "run_tests_in_same_shell is not supported",
        ),
        (
            TERMINAL_BENCH.replace(": pytest", ": swebench"),
            "parser_name 'swebench' is not supported; use pytest",
        ),
        ("difficulty: easy\n", "task.yaml has no instruction"),
        (TERMINAL_BENCH + "teleport: yes\n", "cannot run a task with teleport"),
        ("- a list\n", "expected a table, got list"),
        ("a: b: c\n", "is not valid YAML"),
    ],
)
def test_what_terminal_bench_can_do_and_a_sandbox_here_cannot_is_refused(make, config, expected):
    told = refusal(make(old(config)))
    assert expected in told
    assert "task.yaml" in told


def test_a_dockerfile_that_must_be_built_is_refused_with_how_to_go_on(make):
    docker = (
        "FROM python:3.13-slim\nWORKDIR /app\n# note\nRUN apt-get update && \\\n    apt-get install git\n"
    )
    told = refusal(make(harbor("", environment__Dockerfile=docker)))
    assert "its Dockerfile needs a build (RUN on line 4); run: docker build -t IMAGE " in told
    assert "name the image in environment.docker_image in task.toml, or in environment_args images" in told
    folder = make(old(Dockerfile=docker), "older")
    assert "name the image in environment_args images: {older: IMAGE}" in refusal(folder)
    task = read_folder(folder, images={"older": "built:1"}, trusted=False)
    assert (task.image, task.directory) == ("built:1", "/app")


def test_a_dockerfile_that_only_names_an_image_is_that_image(make):
    docker = 'FROM --platform=linux/amd64 debian:12\nENV A=1 B="two words"\nWORKDIR /srv\nWORKDIR app\n'
    task = read_folder(make(harbor("", environment__Dockerfile=docker)), images={}, trusted=False)
    assert (task.image, task.directory, task.network) == ("debian:12", "/srv/app", True)
    assert task.environment == {"A": "1", "B": "two words"}


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("FROM a AS b\n", "FROM on line 1"),
        ("FROM a\nFROM b\n", "FROM on line 2"),
        ("ARG V=1\nFROM a:$V\n", "ARG on line 1"),
        ("FROM a\nCOPY x /x\n", "COPY on line 2"),
        ("FROM a\nENV P=$PATH\n", "ENV on line 2"),
        ("FROM a\nUSER me\n", "USER on line 2"),
        ("FROM a\nLABEL x=y\n", None),
    ],
)
def test_every_instruction_that_changes_an_image_is_a_build_step(tmp_path, text, step):
    (tmp_path / "Dockerfile").write_text(text)
    assert read_dockerfile(tmp_path / "Dockerfile").build_step == step


def test_several_containers_are_refused(make):
    compose = "services:\n  client:\n    image: a\n  db:\n    image: b\n"
    files = {"docker-compose.yaml": compose}
    assert "multiple containers are not supported" in refusal(make(old(**files)))
    assert "multiple containers" in refusal(
        make(harbor("", **{"environment__docker-compose.yaml": compose}), "h")
    )


def test_a_compose_file_with_one_container_may_name_the_image(make):
    files = old(**{"docker-compose.yaml": "services:\n  client:\n    image: ready:2\n"})
    assert read_folder(make(files), images={}, trusted=False).image == "ready:2"


def test_a_task_that_asks_for_nothing_is_refused(make):
    files = {"task.toml": "", "instruction.md": " \n", "tests/test.sh": "true"}
    assert "task counting: its instruction is empty" in refusal(make(files))


def test_a_task_without_a_check_is_refused(make):
    assert "has no tests/test.sh" in refusal(make({"task.toml": "", "instruction.md": "x"}))
    assert "has no run-tests.sh" in refusal(
        make({"task.yaml": TERMINAL_BENCH, "Dockerfile": "FROM a\n"}, "o")
    )


def test_a_check_that_runs_outside_of_the_sandbox_must_be_trusted(make):
    files = {"task.toml": "", "instruction.md": "x", "tests/check.py": "raise SystemExit(1)\n"}
    folder = make(files)
    assert "trust_checks: true" in refusal(folder)
    assert read_folder(folder, images={}, trusted=True).check == "here"


def test_a_script_that_counts_on_a_container_is_refused_without_one(make):
    files = harbor("", tests__test_sh="")
    files["tests/test.sh"] = "python3 /tests/check.py && echo 1 > /logs/verifier/reward.txt\n"
    assert "names /tests or /logs, which only a container has" in refusal(make(files))
    files["tests/test.sh"] = 'echo 1 > "${LOGS_DIR:-/logs}/verifier/reward.txt"\n'
    assert read_folder(make(files), images={}, trusted=False).check == "script"


def test_one_task_that_cannot_be_run_stops_all_unless_it_is_left_out(make, caplog):
    make(harbor("[environment]\ngpus = 2\n"), "one")
    folder = make(harbor(), "two")
    with pytest.raises(
        UserError, match=r"gpus is not supported.*\(1 of 2 tasks cannot be run\).*skip_unsupported"
    ):
        TerminalEnvironment(path=str(folder.parent)).tasks("test")
    environment = TerminalEnvironment(path=str(folder.parent), skip_unsupported=True)
    assert [task["task_id"] for task in environment.tasks("test")] == ["two"]
    assert "skipped" in caplog.text


def test_splits_are_subfolders_or_else_all_is_test(make, tmp_path):
    make(harbor(), "train/a")
    make(harbor(), "test/b")
    assert [folder.name for folder in folders_of(tmp_path, "train")] == ["a"]
    assert [folder.name for folder in folders_of(tmp_path / "test", "test")] == ["b"]
    with pytest.raises(ValueError, match=r"no split 'train'; it has 'test'"):
        folders_of(tmp_path / "test", "train")
    with pytest.raises(UserError, match="no folder"):
        folders_of(tmp_path / "nowhere", "test")
    make(harbor(), "test/a")
    with pytest.raises(UserError, match="train and test both have a task a"):
        folders_of(tmp_path, "test")
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match="no tasks in"):
        folders_of(tmp_path / "bare", "test")


@pytest.mark.parametrize(
    ("results", "solved", "passed", "failed"),
    [
        ("PASSED t.py::test_a\nPASSED t.py::test_b\n", True, 2, 0),
        ("PASSED t.py::test_a\nFAILED t.py::test_b - assert 1\n", False, 1, 1),
        ("ERROR t.py - ImportError\n", False, 0, 1),
        ("PASSED t.py::test_a\nSKIPPED [1] t.py:3: no reason\n", True, 1, 0),
        ("", False, 0, 0),
    ],
)
def test_a_pytest_summary_is_solved_when_all_of_it_passed(results, solved, passed, failed):
    verdict = read_pytest_output(
        f"=== short test summary info ===\nFAILED x\n=== short test summary info ===\n{results}"
    )
    assert (verdict.solved, len(verdict.passed), len(verdict.failed)) == (solved, passed, failed)


def test_output_without_a_summary_is_not_solved_and_says_so():
    assert read_pytest_output("curl: (6) no host\n").failed == {
        "check": "run-tests.sh printed no pytest summary"
    }


def test_a_missing_program_is_told_before_a_run_starts(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path=None: None if name == "git" else f"/usr/bin/{name}")
    with pytest.raises(UserError, match=r"the terminal tasks need git in .*install them"):
        TerminalEnvironment(backend="bubblewrap")
    TerminalEnvironment(backend="docker")
