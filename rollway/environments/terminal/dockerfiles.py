"""What can be run of a task's Dockerfile without building it: the image that it is made from.

The invariant: a Dockerfile that does anything to its image is never run as if it did not.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from pathlib import Path

import msgspec

from rollway.environments.terminal.folders import read_text
from rollway.errors import UserError

_HARMLESS = {"LABEL", "MAINTAINER", "CMD", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}


class Dockerfile(msgspec.Struct, frozen=True):
    """What a Dockerfile says."""

    image: str  # of its last FROM
    directory: str | None  # its last WORKDIR; None: it has none
    environment: dict[str, str]
    build_step: str | None  # the first instruction that changes the image, with its line; None: there is none


def read_dockerfile(path: Path) -> Dockerfile:
    """Read a Dockerfile.

    Raises:
        UserError: it cannot be read, or has no FROM.
    """
    image, directory, environment, step = "", None, dict[str, str](), None
    for number, name, rest in _instructions(read_text(path)):
        if name == "FROM":
            words = [word for word in rest.split() if not word.startswith("--")]
            if image or len(words) != 1 or "$" in rest:
                step = step or f"{name} on line {number}"
            image = words[0] if words else ""
        elif name == "WORKDIR" and "$" not in rest:
            directory = posixpath.join(directory or "/", rest.strip().strip("\"'"))
        elif name == "ENV" and "$" not in rest:
            environment |= _variables(rest)
        elif name not in _HARMLESS:
            step = step or f"{name} on line {number}"
    if not image:
        raise UserError(f"{path} has no FROM with an image")
    return Dockerfile(image, directory, environment, step)


def _instructions(text: str) -> list[tuple[int, str, str]]:
    """Line number, name in capitals and the rest of each instruction, continued lines joined."""
    found: list[tuple[int, str, str]] = []
    joined, began = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        began = began or number
        if line.rstrip().endswith("\\"):
            joined += line.rstrip()[:-1] + " "
            continue
        name, _, rest = (joined + line).strip().partition(" ")
        found.append((began, name.upper(), rest.strip()))
        joined, began = "", 0
    return found


def _variables(rest: str) -> dict[str, str]:
    if re.match(r"\w+\s+[^=]", rest) and "=" not in rest.split()[0]:
        name, _, value = rest.partition(" ")
        return {name: value.strip()}
    try:
        pairs = [word.partition("=") for word in shlex.split(rest)]
    except ValueError:
        return {}
    return {name: value for name, _, value in pairs}
