"""Finding an Environment by name, by file or by module, and making it.

The invariant: whatever is wrong with the name, the file or the class ends in one `UserError` line that
names the file and, where the user's own code raised, the line in it.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from rollway.environments.base import Environment
from rollway.errors import UserError, nearest


def list_environments() -> list[str]:
    """The names of the environments that ship with the package."""
    import rollway.environments as package

    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg)


def is_file_spec(spec: str) -> bool:
    """Does ``spec`` name a file (``path/to/file.py`` or ``path/to/file.py:Class``)?"""
    return split_spec(spec)[0].endswith(".py")


def absolute_spec(spec: str) -> str:
    """``spec`` with its file as an absolute path, so that it means the same from any folder."""
    if not is_file_spec(spec):
        return spec
    path, name = split_spec(spec)
    absolute = str(Path(path).expanduser().resolve())
    return f"{absolute}:{name}" if name else absolute


def spec_of(target: Environment | type[Environment]) -> str:
    """What names a class or an object in a config: ``file.py:Class``, ``package.module:Class``, or
    ``__main__:Class`` in a notebook.

    Raises:
        UserError: nothing names it: it is not in a variable of the module that its class is from.
    """
    of_class = target if isinstance(target, type) else type(target)
    module = sys.modules.get(of_class.__module__)
    named = {name for name, value in vars(module).items() if value is target} if module else set()
    if not named:
        what = f"class {of_class.__name__}" if target is of_class else f"an object of {of_class.__name__}"
        raise UserError(
            f"{what} is in no variable of its module {of_class.__module__!r}, so a run cannot find it: "
            "put it in one, or give the class"
        )
    name = of_class.__name__ if of_class.__name__ in named else min(named)
    file, package = getattr(module, "__file__", None), getattr(module, "__package__", None)
    stands_alone = file is not None and file.endswith(".py") and not package
    return f"{file if stands_alone else of_class.__module__}:{name}"


def environment_source(spec: str) -> str | None:
    """The text of the file that ``spec`` names, for machines that lack it; ``None`` when it names no file.

    Raises:
        UserError: the file cannot be read.
    """
    if not is_file_spec(spec):
        return None
    path = Path(split_spec(spec)[0]).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def load_environment(
    spec: str, arguments: Mapping[str, Any] | None = None, *, source: str | None = None
) -> Environment:
    """Make the environment that ``spec`` names: a shipped one's, ``file.py[:Class]`` or ``module:Class``.

    ``arguments`` go to the class. ``source`` is the file's text, used on a machine that lacks the file.

    Raises:
        UserError: there is no such environment, its file does not import, or its class cannot be made.
    """
    place, name = split_spec(spec)
    if place.endswith(".py"):
        module, label = import_file(Path(place).expanduser(), source), place
    elif name:
        module, label = _import_module(place, spec), place
    else:
        module, label = _import_shipped(place), f"environment {place!r}"
    return _make(module, name, dict(arguments or {}), label)


def split_spec(spec: str) -> tuple[str, str]:
    """What ``spec`` names (a shipped environment, a file or a module), and the class in it, or ""."""
    place, colon, name = spec.rpartition(":")
    return (place, name) if colon and name.isidentifier() else (spec, "")


def _import_shipped(name: str) -> ModuleType:
    known = list_environments()
    if name not in known:
        raise UserError(
            f"no environment named {name!r}{nearest(name, known)}; "
            f"available: {', '.join(known)}; give your own as path/to/file.py"
        )
    return importlib.import_module(f"rollway.environments.{name}")


def _import_module(place: str, spec: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(f"{error.name}.")):
            raise UserError(
                f"environment {spec!r}: no module {error.name!r}; install it, or give the file as "
                "path/to/file.py:Class"
            ) from None
        raise UserError(_fault(f"cannot import environment {spec!r}", error, None)) from error
    except Exception as error:
        raise UserError(_fault(f"cannot import environment {spec!r}", error, None)) from error


def import_file(path: Path, source: str | None) -> ModuleType:
    """Run a file as a module of its own; its folder goes to the end of the import path.

    The module's name holds a hash of the text, so that an edited file is read anew in the same process.
    """
    if path.is_file():
        path = path.resolve()
        text = path.read_bytes()
    elif source is not None:
        text = source.encode()
    else:
        raise UserError(f"no file {path}; give an environment's file as path/to/file.py[:Class]")
    digest = hashlib.sha256(str(path).encode() + b"\0" + text).hexdigest()[:12]
    name = f"rollway_user_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        exec(compile(text, str(path), "exec"), module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception | SystemExit):
            raise UserError(_fault("the file cannot be imported", error, path)) from error
        raise
    return module


def _make(module: ModuleType, name: str, arguments: dict[str, Any], label: str) -> Environment:
    target = _named(module, name, label) if name else _only(module, label)
    if isinstance(target, Environment):
        if arguments:
            raise UserError(
                f"{label}: environment_args require a class, but {name or 'the file'} is an object"
            )
        return target
    try:
        return target(**arguments)
    except TypeError as error:
        if traceback.extract_tb(error.__traceback__)[-1].filename != __file__:
            raise UserError(_fault(f"{label}: cannot create {target.__name__}", error, None)) from error
        known = [p.name for p in inspect.signature(target).parameters.values()]
        raise UserError(
            f"{label}: cannot create {target.__name__}: {error}; "
            f"environment_args may hold: {', '.join(known) or 'nothing'}"
        ) from None
    except UserError:
        raise  # says it in one line already
    except Exception as error:
        raise UserError(_fault(f"{label}: cannot create {target.__name__}", error, None)) from error


def _named(module: ModuleType, name: str, label: str) -> Environment | type[Environment]:
    target = getattr(module, name, None)
    if isinstance(target, Environment) or _is_environment_class(target):
        return target  # type: ignore[return-value]  # _is_environment_class saw to it
    found = sorted(_candidates(module))
    what = "is not an Environment" if target is not None else "does not exist"
    there = ", ".join(found) or "no Environment at all"
    raise UserError(f"{label}: {name!r} {what}{nearest(name, found)}; it has: {there}")


def _only(module: ModuleType, label: str) -> Environment | type[Environment]:
    found = _candidates(module)
    if not found:
        raise UserError(f"{label} has no Environment; define a subclass of rollway.Environment")
    if len(found) > 1:
        names = ", ".join(sorted(found))
        raise UserError(f"{label} has several environments ({names}); name one, as in {label}:{min(found)}")
    return next(iter(found.values()))


def _candidates(module: ModuleType) -> dict[str, Environment | type[Environment]]:
    """Objects and classes that the module itself defines or exports. Objects win over their classes, and
    classes over those that they inherit from."""
    values = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    objects = {name: value for name, value in values.items() if isinstance(value, Environment)}
    if objects:
        return dict(objects)
    exported = getattr(module, "__all__", ())
    own = {
        name: value
        for name, value in values.items()
        if _is_environment_class(value) and (value.__module__ == module.__name__ or name in exported)
    }
    bases = {base for value in own.values() for base in value.__mro__[1:]}
    return {name: value for name, value in own.items() if value not in bases}


def _is_environment_class(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Environment) and value is not Environment


def _fault(what: str, error: BaseException, path: Path | None) -> str:
    """One line with the user's own exception and the deepest place in the user's file."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {what}: {type(error).__name__}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if path is not None and frame.filename == str(path)] or frames[-1:]
    place = f"{own[-1].filename}, line {own[-1].lineno}: " if own else ""
    return f"{place}{what}: {type(error).__name__}: {error}"
