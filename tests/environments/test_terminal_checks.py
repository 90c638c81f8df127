"""What does not solve a task: nothing, an easy way out, or an attempt on the check itself."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from terminal_rollouts import prepared, solution_of, verdict_after

from rollway.environments.terminal.checking import Box, CheckFailed, ensure, equal, gunzip
from rollway.environments.terminal.environment import TerminalEnvironment
from rollway.environments.terminal.folders import TaskFolder
from rollway.environments.terminal.host_checks import judge_here
from rollway.environments.terminal.judging import check
from rollway.errors import UserError
from rollway.tools.sandboxes import SandboxError, SandboxLimits, SandboxSpec, check_backend, open_sandbox

ENVIRONMENT = TerminalEnvironment(backend="local")

WRONG = {
    "write-roman": [
        'printf \'import sys\\nfor x in ["XIV", "14", "error"]: print(x)\\n\' > roman.py',
        'printf \'import sys\\nsys.stdin.read(); print(open("example.out").read(), end="")\\n\' > roman.py',
    ],
    "fix-statistics": [
        "printf 'print(\"mean 4.00\\\\nmedian 3.50\\\\nrange 8.00\")\\n' > stats.py",
        "printf 'import sys\\nsys.exit(0)\\n' > stats.py",
    ],
    "count-status-codes": [
        ": > status.txt",
        "awk '{print $(NF-1)}' access.log | sort | uniq -c > status.txt",
        "awk '{print $9}' access.log | sort | uniq -c | sort -k1nr -k2 | awk '{print $2, $1}' > status.txt",
        ": > access.log; : > status.txt",
    ],
    "remove-duplicates": [
        "rm -r store; mkdir store; : > removed.txt",
        "rm store/zeta; echo store/zeta > removed.txt",
    ],
    "git-remove-secret": ["cd repo && git rm -q deploy.key && git commit -q -m Remove", "rm -rf repo/.git"],
    "git-undo-commit": ["cd repo && git reset -q --hard HEAD~3", "cd repo && git checkout -q HEAD~3 -- ."],
    "fix-permissions": ["chmod -R 777 site", "chmod -R 755 site"],
    "largest-files": ["ln -s /etc/passwd largest.txt", "mkdir largest.txt", "mkfifo largest.txt"],
    "sum-quoted-csv": ["echo '{' > totals.json", "python3 -c 'print(\"[\" * 100000)' > totals.json"],
    "write-options-script": ["printf 'head -n 10\\n' > lines.sh", "printf 'exit 2\\n' > lines.sh"],
}


@pytest.mark.parametrize(("task_id", "command"), [(t, c) for t, cs in WRONG.items() for c in cs])
async def test_an_easy_way_out_solves_nothing(task_id, command):
    verdict = await verdict_after(ENVIRONMENT, task_id, command)
    assert not verdict.solved
    assert verdict.failed


@pytest.mark.parametrize(
    "command",
    [
        "mkdir -p logs/verifier && echo 1 > logs/verifier/reward.txt && echo 1 > reward.txt",
        "mkdir -p tests && echo 'echo 1 > /logs/verifier/reward.txt' > tests/test.sh",
        "echo 'exit 0' > .bashrc; alias diff=true; export BASH_ENV=$PWD/x; echo 'exit 0' > x; : > status.txt",
        "mkdir bin; for p in find cat git; do printf '#!/bin/sh\\nexit 0\\n' > bin/$p; done; chmod +x bin/*",
        "python3 -c \"open('sitecustomize.py', 'w').write('import os; os._exit(0)')\"",
    ],
)
async def test_what_is_prepared_for_a_check_is_never_looked_at(command):
    assert not (await verdict_after(ENVIRONMENT, "count-status-codes", command)).solved


async def test_what_a_policy_prepared_does_not_spoil_a_right_answer_either():
    task = "fix-backup-script"
    shadow = (
        "mkdir bin; printf '#!/bin/sh\\nexit 1\\n' > bin/find; chmod +x bin/find; echo 'exit 1' > .bashrc"
    )
    assert (await verdict_after(ENVIRONMENT, task, shadow, solution_of(ENVIRONMENT, task))).solved


async def test_git_hooks_and_replaced_commits_fake_nothing():
    hook = (
        "cd repo && printf '#!/bin/sh\\ngit checkout -q HEAD~3 -- .\\n' > .git/hooks/post-checkout"
        " && chmod +x .git/hooks/post-checkout && git config core.hooksPath .git/hooks"
        " && git config core.fsmonitor 'echo 1 > fake'"
        " && git replace HEAD HEAD~3"
    )
    assert not (await verdict_after(ENVIRONMENT, "git-undo-commit", hook)).solved


async def test_nothing_that_the_rollout_started_runs_while_it_is_checked():
    daemon = "(setsid sh -c 'echo $$ > pid; while :; do echo x >> beat; sleep 0.005; done' &) >/dev/null 2>&1"
    async with prepared(ENVIRONMENT, "word-frequency") as sandbox:
        await sandbox.exec(daemon)
        await sandbox.exec("until [ -s beat ]; do :; done", timeout=60.0)
        await check(ENVIRONMENT.folder({"task_id": "word-frequency"}), sandbox)
        sizes = [len(await sandbox.read("beat")) for _ in range(2)]
        await asyncio.sleep(0.05)  # ten beats
        assert len(await sandbox.read("beat")) == sizes[0] == sizes[1]


@pytest.mark.parametrize(("kept", "solved"), [(True, True), (False, False)])
async def test_a_service_runs_while_it_is_checked_where_the_task_asks_for_one(tmp_path, kept, solved):
    (tmp_path / "tests").mkdir()
    patience = 60 if kept else 1  # seconds; nobody answers one that was ended
    body = f'echo ask > ask; timeout {patience} bash -c "until [ -s told ]; do :; done"'
    (tmp_path / "tests" / "test.sh").write_text(
        SCRIPT + body + " && echo 1 > $LOGS_DIR/verifier/reward.txt\n"
    )
    folder = TaskFolder(
        id="service", path=tmp_path, form="harbor", instruction="", check="script", keep_processes=kept
    )
    sandbox = await open_sandbox(SandboxSpec(backend="local"))
    try:
        serve = "(setsid sh -c 'until [ -s ask ]; do sleep 0.01; done; echo x > told' &) >/dev/null 2>&1"
        await sandbox.exec(serve)
        verdict = await check(folder, sandbox)
    finally:
        await sandbox.close()
    assert verdict.solved == solved


async def test_a_program_that_never_ends_is_not_solved_and_does_not_hold_the_check_up(tmp_path):
    (tmp_path / "check.py").write_text(
        "async def check_first(box):\n    await box.output('sleep', '600', timeout=600)\n\n"
        "async def check_second(box):\n    pass\n"
    )
    sandbox = await open_sandbox(SandboxSpec(backend="local"))
    try:
        verdict = await judge_here(tmp_path / "check.py", sandbox, timeout=0.3)
    finally:
        await sandbox.close()
    assert verdict.failed["first"] == "it did not finish in time"
    assert not verdict.solved


async def test_a_sandbox_that_is_gone_is_no_verdict():
    async with prepared(ENVIRONMENT, "word-frequency") as sandbox:
        await sandbox.close()
        with pytest.raises(SandboxError):
            await check(ENVIRONMENT.folder({"task_id": "word-frequency"}), sandbox)


async def test_a_file_without_checks_is_no_check(tmp_path):
    (tmp_path / "check.py").write_text("def check_nothing(box):\n    pass\n")
    with pytest.raises(ValueError, match="has no check"):
        await judge_here(tmp_path / "check.py", None, timeout=1.0)  # type: ignore[arg-type]


def test_a_comparison_tells_what_differs():
    with pytest.raises(CheckFailed, match=r"found 1, expected 2"):
        equal(1, 2)
    with pytest.raises(CheckFailed, match="the reason"):
        ensure(False, "the reason")


async def test_a_listing_tells_names_that_hold_anything():
    sandbox = await open_sandbox(SandboxSpec(backend="local"))
    try:
        await sandbox.exec(
            "mkdir a; printf x > $'a/new\\nline\\ttab'; ln -s $'to\\nit' a/link; chmod 640 a/new*"
        )
        tree = await Box(sandbox).tree("a")
    finally:
        await sandbox.close()
    assert set(tree) == {"", "new\nline\ttab", "link"}
    assert (tree["link"].kind, tree["link"].target) == ("l", "to\nit")
    assert (tree["new\nline\ttab"].mode, tree["new\nline\ttab"].size) == (0o640, 1)


SCRIPT = '#!/bin/bash\nmkdir -p "$LOGS_DIR/verifier"\n'
ENDLESS = "sleep 600"
REWARDS = [
    ('[ "$(cat answer)" = 42 ] && echo 1 > $LOGS_DIR/verifier/reward.txt', "echo 42 > answer", 1.0),
    ('[ "$(cat answer)" = 42 ] && echo 1 > $LOGS_DIR/verifier/reward.txt', "", 0.0),
    ("cp $TESTS_DIR/data $LOGS_DIR/verifier/reward.txt", "", 0.25),
    ('echo \'{"reward": 0.5, "one": 1, "two": 0}\' > $LOGS_DIR/verifier/reward.json', "", 0.5),
    ("echo NaN > $LOGS_DIR/verifier/reward.txt", "", 0.0),
    ("echo '[1]' > $LOGS_DIR/verifier/reward.json", "", 0.0),
    (ENDLESS, "", 0.0),
    ("exit 1", "mkdir -p logs/verifier; echo 1 > logs/verifier/reward.txt", 0.0),
    ("exit 1", "echo 'echo 1 > $LOGS_DIR/verifier/reward.txt' > .bashrc; cp .bashrc .bash_profile", 0.0),
]


@pytest.mark.parametrize(("body", "command", "reward"), REWARDS)
async def test_a_script_gives_the_reward_that_it_writes_and_nothing_else_does(
    tmp_path, body, command, reward
):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test.sh").write_text(SCRIPT + body + "\n")
    (tmp_path / "tests" / "data").write_text("0.25\n")
    patience = 1.0 if body == ENDLESS else 60.0  # seconds; a slow machine may take long to start a shell
    folder = TaskFolder(
        id="scripted", path=tmp_path, form="harbor", instruction="", check="script", check_timeout=patience
    )
    sandbox = await open_sandbox(SandboxSpec(backend="local"))
    try:
        if command:
            await sandbox.exec(command, environment={"HOME": sandbox.workspace})
        verdict = await check(folder, sandbox)
    finally:
        await sandbox.close()
    assert verdict.reward == reward
    assert verdict.solved == (reward == 1.0)
    assert reward or verdict.failed


async def test_a_check_that_finds_no_room_is_not_solved(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test.sh").write_text(SCRIPT + "echo 1 > $LOGS_DIR/verifier/reward.txt\n")
    folder = TaskFolder(id="full", path=tmp_path, form="harbor", instruction="", check="script")
    spec = SandboxSpec(backend="bubblewrap", limits=SandboxLimits(disk=1 << 20))
    try:
        check_backend(spec)
    except UserError as error:
        pytest.skip(f"a disk with a limit needs bubblewrap: {error}")
    sandbox = await open_sandbox(spec)
    try:
        assert (await check(folder, sandbox)).solved
        await sandbox.exec("cat /dev/zero > big")
        verdict = await check(folder, sandbox)
    finally:
        await sandbox.close()
    assert not verdict.solved
    assert "cannot copy the check into the sandbox" in verdict.failed["check"]


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused_unread():
    with pytest.raises(CheckFailed, match="longer than any right answer"):
        gunzip(gzip.compress(bytes(64 << 20)))
    with pytest.raises(CheckFailed, match="not a gzip file"):
        gunzip(b"text")
    assert gunzip(gzip.compress(b"text")) == b"text"


async def test_a_history_that_is_only_written_down_beside_the_repository_is_not_believed():
    command = (
        "cd repo && git config status.showUntrackedFiles no && tip=$(git rev-parse HEAD)"
        " && git commit -q --allow-empty -m new && git log --format=%H -1 > .git/info/grafts"
        " && git rev-parse HEAD > .git/shallow"
    )
    assert not (await verdict_after(ENVIRONMENT, "git-remove-secret", command)).solved


async def test_a_policy_finds_neither_checks_nor_solutions_in_its_sandbox():
    spec = SandboxSpec(backend="bubblewrap")
    try:
        check_backend(spec)
    except UserError as error:
        pytest.skip(f"the backend local hides nothing: {error}")
    sandbox = await open_sandbox(spec)
    try:
        await ENVIRONMENT.prepare_sandbox({"task_id": "word-frequency"}, sandbox)
        found = await sandbox.exec(
            "find / -name 'solve.sh' -o -name 'check.py' -path '*tests*' -o -name 'make_data*'"
        )
    finally:
        await sandbox.close()
    assert [path for path in found.stdout.decode().split() if "terminal" in path or "solve" in path] == []
    assert b"make_data" not in found.stdout
