"""Whole runs of the python_code environment: what a policy leaves in its sandbox is what it is scored by."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import ScriptedRequest, ScriptedServer, reply

from rollway.environments.base import Environment, named_rewards
from rollway.environments.python_code import PythonCodeEnvironment
from rollway.environments.python_code.environment import cases_passed
from rollway.environments.python_code.humaneval import package_data_file, read_humaneval
from rollway.environments.python_code.task_files import SHIPPED, read_tasks
from rollway.environments.sandbox_specs import sandbox_spec
from rollway.errors import UserError
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.run import evaluate_async
from rollway.evaluation.run_directory import read_trajectories
from rollway.tools.sandboxes import (
    Mount,
    SandboxChanges,
    SandboxError,
    SandboxSpec,
    check_backend,
    open_sandbox,
)
from rollway.trajectory import Trajectory

TASKS = {task["prompt"]: task for task in read_tasks(SHIPPED, "test")}
BACKEND = "bubblewrap"
ONE = "mask_card"
RIGHT = next(task["solution"] for task in TASKS.values() if task["task_id"] == ONE)

try:
    check_backend(SandboxSpec(backend="bubblewrap"))
except UserError as error:
    pytestmark = pytest.mark.skip(reason=str(error))


def writes(solution: Callable[[dict[str, Any]], str]) -> Callable[[ScriptedRequest], Any]:
    """A policy that writes a solution, and then submits."""

    def policy(request: ScriptedRequest) -> Any:
        messages = request.body["messages"]
        if messages[-1]["role"] == "tool":
            return reply(tool_calls=[("submit", {"answer": "done"})])
        content = solution(TASKS[messages[1]["content"]])
        return reply(tool_calls=[("write_file", {"path": "solution.py", "content": content})])

    return policy


def runs(*commands: str) -> Callable[[ScriptedRequest], Any]:
    """A policy that runs commands, one in each turn, and then submits."""

    def policy(request: ScriptedRequest) -> Any:
        turn = sum(message["role"] == "assistant" for message in request.body["messages"])
        if turn == len(commands):
            return reply(tool_calls=[("submit", {"answer": "done"})])
        return reply(tool_calls=[("terminal", {"command": commands[turn]})])

    return policy


def file_command(code: str, name: str = "solution.py") -> str:
    return f"printf %s {shlex.quote(code)} > {name}"


@pytest.fixture
def rollouts(tmp_path: Path) -> Callable[..., Any]:
    """Runs the evaluator, in this process."""
    numbers = itertools.count()

    async def run(policy: Callable[[ScriptedRequest], Any], **changes: Any) -> list[Trajectory]:
        out = tmp_path / f"run-{next(numbers)}"
        async with ScriptedServer(policy) as server:
            fields = {
                "environment": "python_code",
                "model": {"base_url": server.url},
                "sandbox": {"backend": BACKEND},
                "workers": 0,
                "concurrency": 4,
                "out": str(out),
            }
            config = EvalConfig(**{**fields, **changes})
            await evaluate_async(config)
        return list(read_trajectories(out))

    return run


async def one(rollouts, *commands: str) -> Trajectory:
    (trajectory,) = await rollouts(runs(*commands), task_ids=[ONE])
    return trajectory


@pytest.mark.timeout(300)
async def test_reference_solutions_score_everything_on_every_task(rollouts):
    trajectories = await rollouts(writes(lambda task: task["solution"]))
    assert len(trajectories) == len(TASKS)
    assert {(t.task_id, t.reward, t.rewards["cases_passed"]) for t in trajectories} == {
        (task["task_id"], 1.0, 1.0) for task in TASKS.values()
    }


@pytest.mark.timeout(300)
async def test_empty_solutions_score_nothing_on_any_task(rollouts):
    trajectories = await rollouts(writes(lambda task: "\n"), tasks=12)
    assert [t.reward for t in trajectories] == [0.0] * 12
    assert [t.error for t in trajectories] == [None] * 12


async def test_a_rollout_that_wrote_nothing_is_scored_zero(rollouts):
    trajectory = await one(rollouts, "ls")
    assert (trajectory.reward, trajectory.rewards["ran_code"]) == (0.0, 1.0)
    assert "no readable solution.py" in trajectory.metadata["python_code"]["reason"]


async def test_what_was_submitted_does_not_count_and_the_file_does(rollouts):
    def policy(request: ScriptedRequest) -> Any:
        return reply(tool_calls=[("submit", {"answer": RIGHT})])

    (trajectory,) = await rollouts(policy, task_ids=[ONE])
    assert (trajectory.reward, trajectory.rewards["ran_code"]) == (0.0, 0.0)


async def test_a_partly_right_solution_scores_zero_and_its_share_is_measured(rollouts):
    trajectory = await one(rollouts, file_command(RIGHT.replace("if keep < 0", "if False")))
    assert trajectory.reward == 0.0
    assert 0.5 < trajectory.rewards["cases_passed"] < 1.0
    assert "raises(ValueError)" in trajectory.metadata["python_code"]["reason"]


@pytest.mark.parametrize(
    "cheat",
    [
        "mkdir -p tests && echo 'def test(): pass' > tests/test_solution.py",
        "echo 'import os; os._exit(0)' | tee sitecustomize.py json.py types.py > /dev/null",
        "printf '#!/bin/sh\\nwhile read x; do echo \"{}\"; done\\n' > python3 && chmod +x python3 && "
        "export PATH=$PWD:$PATH && echo export PATH=$PATH > ~/.bashrc && cp ~/.bashrc ~/.profile",
        "mkdir -p ~/.local/lib/python3.11/site-packages && "
        "echo 'import os; os._exit(0)' > ~/.local/lib/python3.11/site-packages/usercustomize.py",
        "echo 'import os; os._exit(0)' > /tmp/start.py; export PYTHONSTARTUP=/tmp/start.py PYTHONPATH=$PWD",
        "(setsid sh -c 'while :; do for p in /proc/[0-9]*; do echo [4] > $p/fd/1; done; done' &) 2>/dev/null",
        'python3 -c \'import subprocess\nwhile True: subprocess.Popen(["sleep", "999"])\' 2>/dev/null',
        "head -c 600M /dev/zero > big; head -c 200M /dev/zero > /tmp/big; rm big",
        "mkfifo fifo; ln -s /proc/self/fd/1 out; chmod 777 .",
    ],
)
async def test_traps_in_the_workspace_help_a_wrong_solution_nothing_and_hurt_a_right_one_nothing(
    rollouts, cheat
):
    # The solution comes first: a trap that writes to every process's output would at times write to the file.
    wrong = "def mask_card(text, keep):\n    return '####-##34-9'\n"
    trajectory = await one(rollouts, file_command(wrong), cheat)
    assert (trajectory.reward, trajectory.error) == (0.0, None)
    right = await one(rollouts, file_command(RIGHT), cheat)
    assert right.reward == 1.0


@pytest.mark.parametrize(
    "command",
    ["chmod 000 solution.py", "chmod 000 .", "rm solution.py; ln -s /etc/passwd solution.py", "kill -9 -1"],
)
async def test_a_workspace_in_a_bad_state_is_a_zero_and_not_unscored(rollouts, command):
    wrong = "def mask_card(text, keep):\n    return ''\n"
    trajectory = await one(rollouts, file_command(wrong), command)
    assert (trajectory.reward, trajectory.error) == (0.0, None)


async def test_the_answers_cannot_be_found_in_the_sandbox():
    spec = sandbox_spec(PythonCodeEnvironment(), {"task_id": ONE}, SandboxChanges(backend=BACKEND))
    sandbox = await open_sandbox(spec)
    try:  # without a time limit: a disk that has been asked for nothing yet takes long to list
        found = await sandbox.exec("find / -name '*mask_card*' -o -name 'HumanEval*' 2>/dev/null; echo over")
    finally:
        await sandbox.close()
    assert found.stdout == b"over\n"


def test_a_sandbox_does_not_show_the_files_of_tasks_wherever_they_lie(tmp_path):
    environment = PythonCodeEnvironment(path=str(tmp_path))
    assert environment.sandbox_for({}).hidden == [str(tmp_path)]
    assert PythonCodeEnvironment(dataset="humaneval").sandbox_for({}).hidden == [str(package_data_file())]


async def test_a_sandbox_that_shows_the_answers_is_refused_before_the_first_turn():
    folder = str(SHIPPED)
    sandbox = await open_sandbox(SandboxSpec(backend=BACKEND, mounts=[Mount(folder, folder)]))
    try:
        with pytest.raises(SandboxError, match="where the answers are"):
            await PythonCodeEnvironment().prepare_sandbox({}, sandbox)
    finally:
        await sandbox.close()


async def test_the_judge_of_asserts_cannot_be_read_by_the_solution_it_judges():
    spy = (
        "def {}(*args):\n    import os\n    tried = 0\n"
        "    for name in ('mem', 'fd/0', 'fd/1', 'environ', 'maps'):\n"
        "        try: open('/proc/%d/%s' % (os.getppid(), name), 'rb').read(1)\n"
        "        except OSError: tried += 1\n"
        "    open('/workspace/tried', 'w').write(str(tried))\n"
    )
    task = read_humaneval(package_data_file())[0]
    sandbox = await open_sandbox(SandboxSpec(backend=BACKEND))
    await sandbox.write("solution.py", spy.format(task["entry_point"]).encode())
    environment = PythonCodeEnvironment(dataset="humaneval")
    assert await environment.passed(Trajectory(id="t", messages=[]), task, sandbox) == 0.0
    assert await sandbox.read("tried") == b"5"
    await sandbox.close()


async def test_humaneval_runs_through_the_evaluator(rollouts):
    solutions = {
        task["prompt"]: task["given"] + task["canonical_solution"]
        for task in read_humaneval(package_data_file())
    }

    def policy(request: ScriptedRequest) -> Any:
        messages = request.body["messages"]
        if messages[-1]["role"] == "tool":
            return reply("Done.")
        content = solutions[messages[1]["content"]]
        return reply(tool_calls=[("write_file", {"path": "solution.py", "content": content})])

    trajectories = await rollouts(policy, environment_args={"dataset": "humaneval"}, tasks=4)
    assert [t.reward for t in trajectories] == [1.0] * 4


async def test_a_lost_sandbox_is_not_scored():
    environment = PythonCodeEnvironment()
    sandbox = await open_sandbox(SandboxSpec(backend=BACKEND))
    await sandbox.close()
    trajectory = Trajectory(id="t", messages=[])
    with pytest.raises(SandboxError):
        await environment.passed(trajectory, environment.tasks("test")[0], sandbox)
    with pytest.raises(LookupError):
        cases_passed(trajectory, {})


def test_the_reward_is_passed_alone():
    environment: Environment = PythonCodeEnvironment()
    weights = {reward.name: reward.weight for reward in named_rewards(environment)}
    assert weights == {"passed": 1.0, "cases_passed": 0.0, "ran_code": 0.0}


@pytest.mark.parametrize(
    "arguments",
    [
        {"dataset": "mbpp"},
        {"dataset": 3},
        {"check_timeout": 0},
        {"check_timeout": -1.0},
        {"check_timeout": math.nan},
        {"check_timeout": math.inf},
        {"check_timeout": "20"},
        {"path": 3},
    ],
)
def test_arguments_that_make_no_sense_are_a_users_error(arguments):
    with pytest.raises(UserError, match="python_code"):
        PythonCodeEnvironment(**arguments)


def test_the_prompt_says_where_the_solution_goes_and_shows_neither_tests_nor_answers():
    environment = PythonCodeEnvironment()
    for split in ("test", "train"):
        for task in environment.tasks(split):
            system, user = environment.prompt(task)
            assert "`solution.py`" in system["content"]
            assert user["content"] == task["prompt"]
            assert task["solution"].strip() not in user["content"]
