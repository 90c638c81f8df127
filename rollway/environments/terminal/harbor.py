"""Task folders in Harbor's form: ``task.toml``, ``instruction.md``, ``environment/``, ``tests/test.sh``.

Ours are of this form too, with two differences that need no container: ``environment/setup.sh`` makes the
task's files in place of a Dockerfile, and ``tests/check.py`` is judged here in place of ``tests/test.sh``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from rollway.environments.terminal.dockerfiles import Dockerfile, read_dockerfile
from rollway.environments.terminal.folders import Section, TaskFolder, read_text, read_toml
from rollway.errors import UserError

MARK = "task.toml"
"""The file by which a folder of this form is known."""

_MB = 1 << 20
_CONTAINER_PATH = re.compile(r"(?<![\w}.:/-])/(?:tests|logs)\b")
_SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def read_harbor(folder: Path, *, images: Mapping[str, str], here: bool) -> TaskFolder:
    """Read a task.

    Args:
        images: ready-made images, by task id; each wins over what the folder names.
        here: may its check be ``tests/check.py``, which runs outside of the sandbox?

    Raises:
        UserError: it cannot be run as it is.
    """
    config = read_toml(folder / MARK)
    config.ignore("schema_version", "version", "source", "task", "solution", "artifacts")
    config.refuse("steps", "are not supported: the task has several instructions")
    config.refuse("multi_step_reward_strategy", "is not supported: the task has several instructions")
    metadata = config.table("metadata")
    agent, verifier, environment = (config.section(key) for key in ("agent", "verifier", "environment"))
    config.end()
    agent_timeout = agent.number("timeout_sec")
    _refuse_users_and_phases(agent, verifier)
    agent.end()
    check_timeout = verifier.number("timeout_sec")
    verifier_variables = verifier.strings("env")
    verifier.end()
    image = environment.text("docker_image")
    memory, disk = _size(environment, "memory"), _size(environment, "storage")
    docker = _dockerfile(folder)
    image = choose_image(
        folder, images.get(folder.name) or image, docker, "environment.docker_image in task.toml"
    )
    network = _network(environment, default=image is not None)
    variables = environment.strings("env")
    environment.ignore("build_timeout_sec", "cpus")
    for key in (
        "gpus",
        "gpu_types",
        "tpu",
        "mcp_servers",
        "skills_dir",
        "healthcheck",
        "allowed_hosts",
        "workdir",
    ):
        environment.refuse(key, "is not supported for a sandbox")
    if environment.text("os") not in (None, "linux"):
        raise UserError(f"{environment.where}: os must be linux")
    environment.end()
    return TaskFolder(
        id=folder.name,
        path=folder,
        form="harbor",
        instruction=read_text(folder / "instruction.md").strip(),
        check=_check(folder, here, container=image is not None),
        agent_timeout=agent_timeout,
        check_timeout=check_timeout or 600.0,
        image=image,
        directory=docker.directory if docker else None,
        memory=memory,
        disk=disk,
        network=network,
        environment={**(docker.environment if docker else {}), **variables},
        check_environment=verifier_variables,
        keep_processes=metadata.get("keep_processes") is True,
        metadata=metadata,
    )


def choose_image(folder: Path, given: str | None, docker: Dockerfile | None, place: str) -> str | None:
    """The image that a task runs in: the one that is given, or the one that its Dockerfile only names.

    Raises:
        UserError: the Dockerfile has build steps, and no image is given.
    """
    if given or docker is None:
        return given
    if docker.build_step:
        named = f"{place}, or in environment_args images" if place else "environment_args images"
        raise UserError(
            f"task {folder.name}: its Dockerfile needs a build ({docker.build_step}); run: docker build -t "
            f"IMAGE {folder}{'/environment' if (folder / 'environment').is_dir() else ''}, "
            f"and name the image in {named}: {{{folder.name}: IMAGE}}"
        )
    return docker.image


def _dockerfile(folder: Path) -> Dockerfile | None:
    for name in ("docker-compose.yaml", "docker-compose.yml", "compose.yaml"):
        if (folder / "environment" / name).exists():
            raise UserError(f"task {folder.name}: environment/{name}: multiple containers are not supported")
    file = folder / "environment" / "Dockerfile"
    return read_dockerfile(file) if file.exists() else None


def _refuse_users_and_phases(agent: Section, verifier: Section) -> None:
    for section in (agent, verifier):
        user = section.text("user")
        if user not in (None, "root"):
            raise UserError(
                f"{section.where}: user {user!r} is not supported: commands run as the sandbox's user"
            )
        section.refuse("network_mode", "is not supported for a single phase; set it in [environment]")
        section.refuse("allowed_hosts", "is not supported for a single phase")
    verifier.refuse("environment", "is not supported: checks run in the rollout's own sandbox")
    verifier.refuse("collect", "is not supported: checks run in the rollout's own sandbox")
    if verifier.text("environment_mode") not in (None, "shared"):
        raise UserError(
            f"{verifier.where}: environment_mode must be shared: checks run in the rollout's own sandbox"
        )


def _network(environment: Section, *, default: bool) -> bool:
    """Harbor's default is a network; a task without a container has none unless it asks for it."""
    allowed, mode = environment.flag("allow_internet"), environment.text("network_mode")
    if mode not in (None, "public", "no-network"):
        raise UserError(
            f"{environment.where}: network_mode {mode!r} is not supported; use public or no-network"
        )
    if mode is not None:
        return mode == "public"
    return default if allowed is None else allowed


def _size(environment: Section, name: str) -> int | None:
    """Bytes: from ``memory_mb``, or from the older ``memory = "2G"``."""
    megabytes, text = environment.number(f"{name}_mb"), environment.text(name)
    if megabytes is not None:
        return int(megabytes * _MB) or None
    if text is None:
        return None
    try:
        return int(float(text.strip()[:-1]) * _SIZES[text.strip()[-1:].upper()])
    except (KeyError, ValueError):
        raise UserError(f"{environment.where}: {name} must look like '512M' or '2G', got {text!r}") from None


def _check(folder: Path, here: bool, *, container: bool) -> Literal["here", "script"]:
    script, judged = folder / "tests" / "test.sh", folder / "tests" / "check.py"
    if script.exists():
        if not container and _CONTAINER_PATH.search(read_text(script)):
            raise UserError(
                f"task {folder.name}: tests/test.sh names /tests or /logs, which only a container has: set "
                f"an image in environment.docker_image, or write ${{TESTS_DIR:-/tests}} and "
                f"${{LOGS_DIR:-/logs}}"
            )
        return "script"
    if judged.exists() and here:
        return "here"
    if judged.exists():
        raise UserError(
            f"task {folder.name}: tests/check.py runs outside the sandbox; if you trust the task, allow it "
            "with environment_args trust_checks: true"
        )
    raise UserError(f"task {folder.name} has no tests/test.sh, so it has no check")
