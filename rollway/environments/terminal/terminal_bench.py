"""Task folders in Terminal-Bench's older form: ``task.yaml``, ``Dockerfile``, ``run-tests.sh``, ``tests``.

Their check is pytest, run by ``run-tests.sh``; the verdict is read from what it prints, as the benchmark's
own harness does it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollway.environments.terminal.dockerfiles import Dockerfile, read_dockerfile
from rollway.environments.terminal.folders import Section, TaskFolder, read_yaml
from rollway.environments.terminal.harbor import choose_image
from rollway.environments.terminal.verdict import Verdict, unsolved
from rollway.errors import UserError

MARK = "task.yaml"
"""The file by which a folder of this form is known."""

DEFAULT_CHECK_TIMEOUT = 60.0
_SUMMARY = re.compile(r"=+ short test summary info =+")
_RESULT = re.compile(r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\s+(\S+)", re.MULTILINE)
_COMPOSE_FILES = ("docker-compose.yaml", "docker-compose.yml")


def read_terminal_bench(folder: Path, *, images: Mapping[str, str]) -> TaskFolder:
    """Read a task. ``images`` are ready-made images, by task id.

    Raises:
        UserError: it cannot be run as it is.
    """
    config = Section(read_yaml(folder / MARK), str(folder / MARK))
    instruction = config.text("instruction") or _first_description(config)
    metadata = {key: value for key in ("difficulty", "category") if (value := config.text(key))}
    config.ignore(
        "tags", "author_name", "author_email", "disable_asciinema", "estimated_duration_sec",
        "expert_time_estimate_min", "junior_time_estimate_min", "test_scripts",
    )  # fmt: skip
    config.refuse("run_tests_in_same_shell", "is not supported: checks run in their own shell")
    parser = config.text("parser_name")
    if parser not in (None, "pytest"):
        raise UserError(f"{config.where}: parser_name {parser!r} is not supported; use pytest")
    agent_timeout, check_timeout = (
        config.number("max_agent_timeout_sec"),
        config.number("max_test_timeout_sec"),
    )
    config.end()
    if not (folder / "run-tests.sh").exists():
        raise UserError(f"task {folder.name} has no run-tests.sh, so it has no check")
    given, docker = _container(folder, images)
    image = choose_image(folder, given, docker, "")
    if image is None:
        raise UserError(f"task {folder.name} has neither a Dockerfile nor an image in docker-compose.yaml")
    return TaskFolder(
        id=folder.name,
        path=folder,
        form="terminal-bench",
        instruction=instruction.strip(),
        check="script",
        agent_timeout=agent_timeout,
        check_timeout=check_timeout or DEFAULT_CHECK_TIMEOUT,
        image=image,
        directory=docker.directory if docker else None,
        network=True,
        environment=docker.environment if docker else {},
        metadata=metadata,
    )


def read_pytest_output(output: str) -> Verdict:
    """The verdict in pytest's short summary (``-rA``): solved when there is one and all of it passed."""
    parts = _SUMMARY.split(output)
    if len(parts) < 2:
        return unsolved("run-tests.sh printed no pytest summary")
    passed, failed = [], {}
    for outcome, name in _RESULT.findall(parts[-1]):  # what a test printed comes before
        if outcome == "PASSED":
            passed.append(name)
        elif outcome in ("FAILED", "ERROR"):
            failed[name] = outcome
    return Verdict(reward=1.0 if passed and not failed else 0.0, passed=passed, failed=failed)


def _first_description(config: Section) -> str:
    """Before ``instruction`` there was a list of descriptions, of which ``base`` was the task."""
    found = config.list_of_tables("descriptions")
    texts = [
        entry.get("description") or entry.get("instruction") for entry in found if entry.get("key") == "base"
    ]
    if not texts or not isinstance(texts[0], str):
        raise UserError(f"{config.where} has no instruction")
    return texts[0]


def _container(folder: Path, images: Mapping[str, str]) -> tuple[str | None, Dockerfile | None]:
    """The image that is given, and the Dockerfile where there is one."""
    docker = read_dockerfile(folder / "Dockerfile") if (folder / "Dockerfile").exists() else None
    image = images.get(folder.name)
    for name in _COMPOSE_FILES:
        if (folder / name).exists():
            named = _client_image(read_yaml(folder / name), f"task {folder.name}: {name}")
            return image or named, docker
    return image, docker


def _client_image(compose: Any, where: str) -> str | None:
    services = compose.get("services") if isinstance(compose, dict) else None
    if not isinstance(services, dict) or len(services) != 1:
        raise UserError(f"{where}: multiple containers are not supported")
    (client,) = services.values()
    image = client.get("image") if isinstance(client, dict) else None
    return image if isinstance(image, str) and "${" not in image else None
