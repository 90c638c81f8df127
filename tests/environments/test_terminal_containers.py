"""Tasks of Harbor and Terminal-Bench in real containers: podman runs each of these tests."""

from __future__ import annotations

import msgspec
import pytest
from container_image import PLAIN, WITH_BASH

from rollway.environments.terminal.environment import TerminalEnvironment
from rollway.environments.terminal.judging import check
from rollway.errors import UserError
from rollway.tools.sandboxes import open_sandbox

TEST_SH = """#!/bin/bash
if [ "$(cat /srv/answer /tests/data/expected)" = "$(printf '42\\n42')" ] && [ "$PWD" = /srv ]; then
    echo 1 > /logs/verifier/reward.txt
else
    echo 0 > /logs/verifier/reward.txt
fi
"""
RUN_TESTS = """#!/bin/bash
echo "=== short test summary info ==="
[ "$(cat /srv/answer)" = "$(cat $TEST_DIR/expected)" ] && verdict=PASSED || verdict=FAILED
echo "$verdict t.py::test_a"
"""
FORMS = {
    "harbor": {
        "task.toml": f'[environment]\ndocker_image = "{WITH_BASH}"\nallow_internet = false\n',
        "instruction.md": "Write 42 to /srv/answer.",
        "environment/Dockerfile": "FROM x\nRUN y\nWORKDIR /srv\n",
        "tests/test.sh": TEST_SH,
        "tests/data/expected": "42\n",
    },
    "terminal-bench": {
        "task.yaml": "instruction: Write 42 to /srv/answer.\ndifficulty: easy\n",
        "Dockerfile": f"FROM {WITH_BASH}\nWORKDIR /srv\n",
        "run-tests.sh": RUN_TESTS,
        "tests/expected": "42\n",
    },
}


PREPARED = [
    "mkdir -p /logs/verifier /tests; echo 1 > /logs/verifier/reward.txt; echo 0 | tee /tests/expected answer;"
    " echo 'echo 42 > /srv/answer' | tee ~/.bashrc ~/.bash_profile;"
    " (while :; do mkdir -p /logs/verifier; echo 1 > /logs/verifier/reward.txt; done) >/dev/null 2>&1 &",
    "mkdir -p f/verifier; rm -rf /logs /tests; for n in logs tests; do ln -s /srv/f /$n; done;"
    " echo 1 > f/verifier/reward.txt",
]


@pytest.mark.parametrize("form", FORMS)
async def test_only_the_solution_passes_whatever_else_was_prepared(engine, tmp_path, form):
    for name, text in FORMS[form].items():
        (tmp_path / form / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / form / name).write_text(text)
    environment = TerminalEnvironment(path=str(tmp_path), backend="podman")
    (task,) = environment.tasks("test")
    sandbox = await open_sandbox(environment.sandbox_for(task))
    try:
        await environment.prepare_sandbox(task, sandbox)
        assert (await sandbox.exec("[ ! -e /tests ] && [ ! -e /logs ]")).exit_code == 0
        for command in PREPARED:
            await sandbox.exec(f"cd /srv; {command}", timeout=20.0)
            assert not (await check(environment.folder(task), sandbox)).solved, command
        await sandbox.exec("echo 42 > /srv/answer")
        verdict = await check(environment.folder(task), sandbox)
        assert (verdict.reward, verdict.failed) == (1.0, {})
    finally:
        await sandbox.close()


async def test_our_own_tasks_are_told_what_a_container_lacks(engine):
    environment = TerminalEnvironment(backend="podman")
    (task, *_) = environment.tasks("test")
    spec = environment.sandbox_for(task)
    sandbox = await open_sandbox(msgspec.structs.replace(spec, image=PLAIN))
    try:
        with pytest.raises(UserError, match=r"the sandbox lacks bash, git, python3, which"):
            await environment.prepare_sandbox(task, sandbox)
    finally:
        await sandbox.close()
