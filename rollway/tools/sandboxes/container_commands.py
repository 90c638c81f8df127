"""The command lines that a container engine is run with. Pure: what goes in is a spec, what comes out a list.

Docker and podman take the same words but where `ENGINES` says otherwise.
"""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Mapping, Sequence

from rollway.errors import UserError
from rollway.tools.sandboxes.boot_clock import Moment
from rollway.tools.sandboxes.container_scripts import IDLE, KILL, MARK, RUN
from rollway.tools.sandboxes.spec import Mount, SandboxSpec

ENGINES = ("docker", "podman")
WORKSPACE = "/workspace"
LABEL = "rollway.sandbox"  # the sandbox's id
OWNER_LABEL = "rollway.owner"


def run_command(
    spec: SandboxSpec, sandbox_id: str, owner: str, *, user_processes: int | None = None
) -> list[str]:
    """Start an idle container for a sandbox, in the background.

    Args:
        owner: names the process that the container belongs to.
        user_processes: what one user may run on the host, where podman has to be told. The sandbox's own
            limit is not this one.

    Raises:
        UserError: the spec names no image.
    """
    image = image_of(spec)
    limits = spec.limits
    memory = str(limits.memory + limits.disk)  # the workspace's files lie in memory, and count in this
    command = [
        *(spec.backend, "run", "--detach"),
        *("--name", container_name(sandbox_id)),
        *("--label", f"{LABEL}={sandbox_id}", "--label", f"{OWNER_LABEL}={owner}"),
        *("--memory", memory, "--memory-swap", memory),
        *("--pids-limit", str(limits.processes)),
        *("--ulimit", f"cpu={limits.cpu_seconds}:{limits.cpu_seconds}"),
        *("--ulimit", f"fsize={limits.file_size}:{limits.file_size}"),
        *("--ulimit", f"nofile={limits.open_files}:{limits.open_files}"),
        *("--ulimit", "core=0:0"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--tmpfs", _workspace_options(spec)),
        *("--workdir", WORKSPACE),
    ]
    if user_processes is not None:
        command += ["--ulimit", f"nproc={user_processes}:{user_processes}"]
    if not spec.network:
        command += ["--network", "none"]
    for mount in spec.mounts:
        command += ["--mount", _mount_words(mount)]
    for name, value in spec.environment.items():
        command += ["--env", f"{name}={value}"]
    return [*command, "--env", f"{MARK}=idle", "--entrypoint", "sh", image, "-c", IDLE]


def image_of(spec: SandboxSpec) -> str:
    """The spec's image.

    Raises:
        UserError: it names none.
    """
    if not spec.image:
        raise UserError(
            f"sandbox.backend {spec.backend} requires an image: set sandbox.image, for example "
            "python:3.11-slim"
        )
    return spec.image


def _workspace_options(spec: SandboxSpec) -> str:
    options = f"rw,exec,nosuid,nodev,mode=1777,size={spec.limits.disk}"
    if spec.backend == "podman":  # docker never copies what the image has at this place
        options += ",notmpcopyup"
    return f"{WORKSPACE}:{options}"


def _mount_words(mount: Mount) -> str:
    words = ["type=bind", f"source={mount.source}", f"target={mount.target}"]
    if not mount.writable:
        words.append("readonly")
    line = io.StringIO()  # the engines read this as a line of CSV
    csv.writer(line, lineterminator="").writerow(words)
    return line.getvalue()


def exec_command(
    engine: str,
    sandbox_id: str,
    command: str | Sequence[str],
    *,
    mark: str,
    nonce: str,
    stdin: bool,
    joined: bool = False,
    directory: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """Run a command in the container under `RUN`.

    Args:
        mark: by which `kill_command` knows its processes.
        nonce: what the lines that tell of its end begin with.
        stdin: hand our stdin on to it.
        joined: its stderr goes to stdout.
        directory: to start in, relative to the workspace or absolute.
    """
    words = [engine, "exec", *(["--interactive"] if stdin else []), "--env", f"{MARK}={mark}"]
    for name, value in (environment or {}).items():
        words += ["--env", f"{name}={value}"]
    folder = posixpath.join(WORKSPACE, directory or "")
    kind = "joined" if joined else "shell" if isinstance(command, str) else "list"
    arguments = [command] if isinstance(command, str) else list(command)
    script = ["sh", "-c", RUN, "rollway", nonce[:16], nonce[16:], folder, kind, "stdin" if stdin else "none"]
    return [*words, container_name(sandbox_id), *script, *arguments]


def kill_command(
    engine: str, sandbox_id: str, mark: str, *, spare_first: bool = False, since: Moment | None = None
) -> list[str]:
    """End all that a command started; exit code 0 says that none of it is left.

    Args:
        mark: of the command; ``""`` for all commands.
        spare_first: leave the command's own process.
        since: leave what is older.
    """
    script = ["sh", "-c", KILL, "rollway", mark, "1" if spare_first else "0"]
    if since is not None:
        script += [str(round(since.age * 100)), str(round(since.seconds * 100)), since.boot]
    return [engine, "exec", container_name(sandbox_id), *script]


def make_room_command(engine: str, sandbox_id: str) -> list[str]:
    """Have the container's first process end all others. That takes no process in the container."""
    return [engine, "kill", "--signal", "USR1", container_name(sandbox_id)]


def remove_command(engine: str, names: Sequence[str]) -> list[str]:
    """Kill and remove containers, with the volumes that were made for them alone."""
    at_once = ["--time", "0"] if engine == "podman" else []  # docker kills at once
    return [engine, "rm", "--force", "--volumes", *at_once, *names]


def list_command(engine: str) -> list[str]:
    """All our containers, running or not: ``id owner``, one a line."""
    owner = f'.Label "{OWNER_LABEL}"' if engine == "docker" else f'index .Labels "{OWNER_LABEL}"'
    shown = ("--filter", f"label={LABEL}", "--format", f"{{{{.ID}}}} {{{{{owner}}}}}")
    return [engine, "ps", "--all", "--no-trunc", *shown]


def running_command(engine: str, sandbox_id: str) -> list[str]:
    """Two words, each ``true`` or ``false``: does it run, and was it killed because its memory was used up?

    It fails where there is no such container.
    """
    state = "{{.State.Running}} {{.State.OOMKilled}}"
    return [engine, "inspect", "--format", state, container_name(sandbox_id)]


def container_name(sandbox_id: str) -> str:
    return f"rollway-{sandbox_id}"
