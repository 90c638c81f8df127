"""A container engine of the tests' own: podman with a store in a temporary folder, and an image of busybox.

Nothing is downloaded and no container of the machine is touched.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

PLAIN = "localhost/rollway-plain"  # busybox alone: sh, and no bash
WITH_BASH = "localhost/rollway-bash"


class NoPodman(Exception):
    """Why no container can be run here."""


@contextlib.contextmanager
def podman_with_images(folder: Path) -> Iterator[dict[str, str]]:
    """Environment variables under which ``podman`` has both images."""
    variables = {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
    }
    _configure(folder)
    environment = {**os.environ, **variables}
    try:
        for image, programs in ((PLAIN, []), (WITH_BASH, ["bash"])):
            archive = folder / "image.tar"
            _pack_image(archive, programs)
            podman("import", str(archive), image, environment=environment)
        podman("run", "--rm", "--network=none", "--ulimit=nofile=256:256", "--ulimit=nproc=256:256", PLAIN,
               "true", environment=environment)  # fmt: skip
        yield variables
    finally:
        with contextlib.suppress(NoPodman):
            podman("rm", "--all", "--force", "--time", "0", environment=environment)
            podman("rmi", "--all", "--force", environment=environment)
        subprocess.run(["umount", "-q", str(folder / "store" / "overlay")], capture_output=True, check=False)


def podman(*arguments: str, environment: dict[str, str]) -> str:
    if shutil.which("podman") is None:
        raise NoPodman("podman is not installed (apt-get install podman runc busybox-static)")
    done = subprocess.run(
        ["podman", *arguments], env=environment, capture_output=True, text=True, check=False, timeout=110
    )
    if done.returncode != 0:
        raise NoPodman(f"podman {arguments[0]} does not work here: {done.stderr.strip()[-300:]}")
    return done.stdout


def _configure(folder: Path) -> None:
    """Without systemd, and with runc where there is one: crun refuses hosts with both kinds of cgroups."""
    runtime = f'runtime = "{"runc" if shutil.which("runc") else "crun"}"'
    (folder / "containers.conf").write_text(
        f'[engine]\n{runtime}\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
    )
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/store"\nrunroot = "{folder}/run"\n'
    )


def _pack_image(archive: Path, programs: list[str]) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise NoPodman("busybox is not installed (apt-get install busybox-static)")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(archive, "w") as tar:
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o777 if name == "tmp" else 0o755
            tar.addfile(folder)
        tar.add(busybox, "bin/busybox")
        for name in applets:
            if name not in ("busybox", "bash"):
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        for name in programs:
            program = shutil.which(name)
            assert program is not None
            tar.add(os.path.realpath(program), f"bin/{name}")
            for library in _libraries(program):
                tar.add(os.path.realpath(library), library.lstrip("/"))


def _libraries(program: str) -> list[str]:
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [word for line in listed.splitlines() for word in line.split() if word.startswith("/")]
