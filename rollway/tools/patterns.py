"""Which calls a rule is about: by the tool's name, and by what stands in one of its arguments.

A pattern that restricts must not be got around by a value that cannot be read, and one that permits must not
be met by one: so every question here is asked either strictly (all of the value surely fits) or not (some of
it may fit).
"""

from __future__ import annotations

import enum
import inspect
import os
import posixpath
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec


class CallPattern(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Calls of some tools, or those of them with something in one argument.

    ``matches`` is a shell pattern (``*``, ``?``, ``[a-z]``) over the whole text, line breaks included. It
    compares words. It is no security boundary: ``git *`` also matches ``git log; rm -r .``, and a shell has
    many ways to write a command that no pattern sees. What must not happen is for the sandbox to prevent.

    ``under`` compares paths after ``..``, ``.`` and double slashes are gone; relative ones begin in the
    sandbox's workspace. It compares names and follows no links.

    Raises:
        ValueError: fields of a wrong type, or that do not go together.
    """

    tool: str = "*"  # a shell pattern over the tool's name
    argument: str | None = None  # its name; None: whatever the arguments are
    matches: str | None = None
    under: str | None = None  # a folder; itself, too

    def __post_init__(self) -> None:
        for name in ("tool", "argument", "matches", "under"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name == "tool"):
                raise ValueError(f"a rule's {name} must be a string, got {value!r:.80}")
        given = [name for name in ("matches", "under") if getattr(self, name) is not None]
        if self.argument is None and given:
            raise ValueError(f"a rule with {given[0]} needs an argument name: argument=...")
        if self.argument is not None and len(given) != 1:
            raise ValueError(f"a rule on argument {self.argument!r} needs either matches or under")
        if not self.tool:
            raise ValueError('a rule needs a tool or a tool pattern, such as tool="*"')

    def names(self, tool: str) -> bool:
        """Is it about this tool, with some arguments at least?"""
        return fnmatchcase(tool, self.tool)


def fits(
    pattern: CallPattern, tool: str, arguments: Mapping[str, Any], workspace: str | None, *, strictly: bool
) -> bool:
    """Is this call one of the pattern's?

    Args:
        arguments: as the function gets them.
        workspace: where relative paths begin; ``None``: nobody knows.
        strictly: every part of the value must surely fit. Otherwise one that may fit is enough.
    """
    if not pattern.names(tool):
        return False
    if pattern.argument is None:
        return True
    value = arguments.get(pattern.argument)
    if value is None:
        return False
    answers = [_part_fits(pattern, part, workspace) for part in _parts(value)]
    if strictly:
        return bool(answers) and all(answers)
    return any(answer is not False for answer in answers)


def _part_fits(pattern: CallPattern, part: str | None, workspace: str | None) -> bool | None:
    """``None``: nobody can say."""
    if part is None:
        return None
    if pattern.matches is not None:
        return fnmatchcase(part, pattern.matches)
    assert pattern.under is not None
    return is_under(part, pattern.under, workspace)


def _parts(value: Any) -> Iterator[str | None]:
    """The texts in a value; ``None`` for what cannot be read as one. As deep as a model may nest."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, enum.Enum):
            part = part.value
        if isinstance(part, Mapping):
            waiting.extend(part.values())
        elif isinstance(part, list | tuple | set | frozenset):
            waiting.extend(part)
        else:
            yield _text(part)


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return os.fsdecode(value) if isinstance(value, os.PathLike) else None


def is_under(path: str, folder: str, workspace: str | None = None) -> bool | None:
    """Is ``path`` the folder or in it, by name? ``None``: it depends on what is not known here."""
    inside, outer = _steps(path, workspace), _steps(folder, workspace)
    if inside is None or outer is None or inside[:1] == [".."]:
        return None
    if (inside[:1] == ["/"]) != (outer[:1] == ["/"]):
        return None
    return inside[: len(outer)] == outer


def _steps(path: str, workspace: str | None) -> list[str] | None:
    """``/a//b/../c`` as ``["/", "a", "c"]``; ``None`` for what a tool may expand in its own way."""
    if path.startswith("~") or "\0" in path:
        return None
    if not path.startswith("/") and workspace is not None:
        path = f"{workspace}/{path}"
    normal = posixpath.normpath(path)
    steps = [step for step in normal.split("/") if step not in ("", ".")]
    return ["/", *steps] if path.startswith("/") else steps


def values_of(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """What a function gets under each name, defaults included."""
    try:
        signature = inspect.signature(function)
        bound = signature.bind_partial(*args, **kwargs)
    except (TypeError, ValueError):  # a builtin that does not tell, or a function that is about to raise
        return dict(kwargs)
    bound.apply_defaults()
    values: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            values.update(value)
        else:
            values[name] = value
    return values
