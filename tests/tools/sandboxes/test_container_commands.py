"""Container sandboxes where no engine runs: command lines, messages, and what stands in an output."""

from __future__ import annotations

import itertools
import stat
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.errors import UserError
from rollway.tools.sandboxes import Mount, SandboxError, SandboxSpec
from rollway.tools.sandboxes.agent.system import process
from rollway.tools.sandboxes.container_commands import exec_command, list_command, remove_command, run_command
from rollway.tools.sandboxes.container_engine import ask_engine, check_container_backend, engine_error
from rollway.tools.sandboxes.container_files import checked
from rollway.tools.sandboxes.container_output import CommandOutput
from rollway.tools.sandboxes.protocol import SandboxFileError

NONCE = "0123456789abcdef" * 2
PIECES = [b"0123456789ab", NONCE.encode(), NONCE.encode() + b" x\n", b"x\n"]


def test_a_container_has_limits_no_rights_and_no_network() -> None:
    command = run_command(SandboxSpec(backend="docker", image="an-image"), "id", "owner")
    words = " ".join(command)
    assert words.startswith("docker run --detach --name rollway-id --label rollway.sandbox=id")
    for part in (
        f"--memory {1536 << 20} --memory-swap {1536 << 20}",
        "--pids-limit 128",
        "--ulimit cpu=600:600",
        f"--ulimit fsize={256 << 20}:{256 << 20}",
        "--ulimit nofile=1024:1024",
        "--cap-drop ALL --security-opt no-new-privileges",
        f"--tmpfs /workspace:rw,exec,nosuid,nodev,mode=1777,size={512 << 20} ",
        "--network none",
    ):
        assert part in words
    with_network = run_command(SandboxSpec(backend="docker", image="an-image", network=True), "id", "owner")
    assert "--network" not in with_network


def test_mounts_are_written_as_the_engines_read_them() -> None:
    mounts = [Mount("/a", "/b"), Mount("/with, comma", "/c", writable=True)]
    command = run_command(SandboxSpec(backend="podman", image="i", mounts=mounts), "id", "owner")
    given_mounts = [command[i + 1] for i, word in enumerate(command) if word == "--mount"]
    assert given_mounts == [
        "type=bind,source=/a,target=/b,readonly",
        'type=bind,"source=/with, comma",target=/c',
    ]


def test_docker_kills_at_once_and_podman_is_told_to() -> None:
    assert remove_command("docker", ["a"]) == ["docker", "rm", "--force", "--volumes", "a"]
    assert remove_command("podman", ["a"]) == ["podman", "rm", "--force", "--volumes", "--time", "0", "a"]


def test_owners_are_listed_in_each_engines_own_words() -> None:
    assert list_command("docker")[-1] == '{{.ID}} {{.Label "rollway.owner"}}'
    assert list_command("podman")[-1] == '{{.ID}} {{index .Labels "rollway.owner"}}'


def test_the_nonce_stands_in_no_list_of_processes() -> None:
    command = exec_command("docker", "id", "true", mark="m", nonce=NONCE, stdin=False)
    assert NONCE not in " ".join(command)


def test_an_image_is_required() -> None:
    with pytest.raises(UserError, match=r"docker requires an image: set sandbox\.image"):
        check_container_backend(SandboxSpec(backend="docker"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
            "docker is not running",
        ),
        (
            "Unable to find image 'x:1' locally\nError: pull access denied for x",
            "build or pull it",
        ),
    ],
)
def test_a_users_mistake_is_told_apart(words: str, message: str) -> None:
    error = engine_error(["docker", "run"], words.encode())
    assert isinstance(error, UserError)
    assert message in str(error)
    assert words.splitlines()[-1] in str(error)
    assert "\n" not in str(error)


def test_another_complaint_is_the_sandboxs() -> None:
    error = engine_error(
        ["docker", "run"], b"docker: no space left on device.\nRun 'docker run --help' for more information\n"
    )
    assert isinstance(error, SandboxError)
    assert str(error) == "docker run failed: docker: no space left on device."


@pytest.fixture
def engine_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path; what a test writes there as ``docker`` is the engine."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def write_engine(folder: Path, script: str) -> None:
    engine = folder / "docker"
    engine.write_text(f"#!/bin/sh\n{script}\n")
    engine.chmod(engine.stat().st_mode | stat.S_IXUSR)


async def test_an_engine_that_is_not_installed_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    spec = SandboxSpec(backend="docker", image="i")
    with pytest.raises(UserError, match="docker is not installed"):
        check_container_backend(spec)
    with pytest.raises(UserError, match="docker is not installed"):
        await ask_engine(["docker", "ps"])


def is_running(pid: str) -> bool:
    found = process(int(pid))
    return found is not None and not found.ended


async def test_an_engine_that_hangs_is_given_up_and_ended(
    engine_that: Path, becomes: Callable[[Callable[[], bool]], Awaitable[None]]
) -> None:
    write_engine(engine_that, f"echo $$ > {engine_that}/pid; exec sleep 1000")
    with pytest.raises(SandboxError, match=r"docker ps did not answer within 2 s"):
        await ask_engine(["docker", "ps"], patience=2.0)
    pid = (engine_that / "pid").read_text().strip()
    await becomes(lambda: not is_running(pid))


def test_a_daemon_that_does_not_run_is_told_before_anything_starts(engine_that: Path) -> None:
    write_engine(engine_that, "echo 'Cannot connect to the Docker daemon at unix:///x.' >&2; exit 1")
    with pytest.raises(UserError, match=r"docker is not running \(Cannot connect"):
        check_container_backend(SandboxSpec(backend="docker", image="i"))


@given(
    data=st.binary(max_size=400)
    | st.lists(st.sampled_from([b"0123456789ab", b" 7", b"x\n", NONCE.encode()])).map(b"".join),
    cuts=st.lists(st.integers(0, 500), max_size=6),
    keep=st.none() | st.integers(0, 300),
    code=st.none() | st.integers(0, 255),
)
def test_an_output_is_the_same_however_it_comes_in_pieces(
    data: bytes, cuts: list[int], keep: int | None, code: int | None
) -> None:
    written = data if code is None else data + f"{NONCE} {code}\nlate".encode()
    output = CommandOutput(NONCE, keep)
    edges = [0, *sorted(min(cut, len(written)) for cut in cuts), len(written)]
    for start, end in itertools.pairwise(edges):
        output.feed(written[start:end])
    kept, missing = output.finish()
    assert output.exit_code == code
    assert missing == (0 if keep is None else max(0, len(data) - keep))
    if not missing:
        assert kept == data
    else:
        assert keep is not None
        assert kept == data[: keep - keep // 2] + data[len(data) - keep // 2 :]


def test_an_output_goes_to_a_file_whole_and_a_full_disk_is_told() -> None:
    with tempfile.TemporaryFile() as file, open("/dev/full", "wb", buffering=0) as full:
        whole, lost = CommandOutput(NONCE, None, file), CommandOutput(NONCE, None, full)
        for output in (whole, lost):
            output.feed(b"a" * 100_000 + NONCE.encode()[:9])
            output.feed(f"b{NONCE} 3\n".encode())
            assert output.exit_code == 3
            assert output.total == 100_010
        assert whole.finish() == (b"", 0)
        file.seek(0)
        assert file.read() == b"a" * 100_000 + NONCE.encode()[:9] + b"b"
        with pytest.raises(OSError, match="No space left"):
            lost.finish()


@given(st.text(alphabet="ab./", max_size=12))
def test_a_checked_path_never_leads_out(path: str) -> None:
    try:
        inside = checked(path)
    except SandboxFileError:
        return
    assert not inside.startswith("/")
    assert ".." not in inside.split("/")
