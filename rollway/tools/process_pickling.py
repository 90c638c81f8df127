"""A call as bytes for another process of this machine: by reference where that can import, else whole.

A tool travels as its function: schemas and binders stay here.
"""

from __future__ import annotations

import functools
import importlib
import io
import sys
import types
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import cloudpickle

from rollway.tools.definition import Tool


def pack_call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Pack ``function(*args, **kwargs)``.

    Raises:
        Exception: some part of it cannot leave this process (a lock, a client, an open file).
    """
    for value in (function, *args):
        _see_to_modules(value)
    buffer = io.BytesIO()
    _Pickler(buffer).dump((function, args, kwargs))
    return buffer.getvalue()


def inner(function: Any) -> Any:
    """The function in a partial."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Takes decorated functions by name too: their module has the tool there, which cloudpickle minds."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tool):
            return _itself, (obj.function,)
        if isinstance(obj, types.FunctionType) and _is_tool_of_module(obj):
            return _function_of, (obj.__module__, obj.__qualname__)
        return super().reducer_override(obj)


def _is_tool_of_module(function: types.FunctionType) -> bool:
    module = sys.modules.get(function.__module__)
    if module is None or not _importable(function.__module__):
        return False
    found = _look_up(module, function.__qualname__)
    return isinstance(found, Tool) and found.function is function


def _itself(value: Any) -> Any:
    return value


def _function_of(module: str, qualname: str) -> Any:
    return _look_up(importlib.import_module(module), qualname).function


def _look_up(module: Any, qualname: str) -> Any:
    found = module
    for name in qualname.split("."):
        found = vars(found).get(name) if isinstance(found, type) else getattr(found, name, None)
    return found


def _see_to_modules(value: Any) -> None:
    """That of a function, and those of functions that it is called with."""
    if isinstance(value, functools.partial):
        for each in (value.func, *value.args):
            _see_to_modules(each)
    elif callable(value):
        _see_to_module(getattr(value, "__module__", None))


def _see_to_module(name: Any) -> None:
    """What was loaded from a file by its path is packed whole: another process cannot import it."""
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is not None and name != "__main__" and not _importable(name):
        cloudpickle.register_pickle_by_value(module)


@functools.lru_cache(maxsize=1024)
def _importable(name: str) -> bool:
    """Would another process with our import path get the same module by this name?"""
    module = sys.modules.get(name)
    origin = getattr(module, "__file__", None)
    if name == "__main__":
        return False
    if origin is None:  # built in
        return name in sys.builtin_module_names
    path = None
    for part in _prefixes(name):
        spec = PathFinder.find_spec(part, path)
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return spec is not None and spec.origin is not None and Path(spec.origin) == Path(origin)


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]
