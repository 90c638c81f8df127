"""From what stands on the command line to an `EvalConfig`: files, names, ``--set``, and clear complaints.

Later sources win field by field: defaults, the file, then overrides in the order given. Every mistake is
one `UserError` line with the field's full dotted path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from rollway.environments.base import Environment
from rollway.environments.loading import is_file_spec, list_environments, spec_of
from rollway.errors import UserError, in_short, nearest
from rollway.evaluation.config import EvalConfig, validate
from rollway.evaluation.config.data import data_section
from rollway.evaluation.run_directory import read_config
from rollway.evaluation.yaml_text import parse_yaml

YAML_ENDINGS = (".yaml", ".yml")


def list_configs() -> list[str]:
    """The names of the configs that ship with the package."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in resources.files("rollway.configs").iterdir()
        if entry.name.endswith(".yaml")
    )


def load_config(
    target: str | Environment | type[Environment], overrides: Mapping[str, Any] | None = None
) -> EvalConfig:
    """The config that ``target`` names, with ``overrides`` such as ``{"sampling.temperature": 1.0}`` over it.

    ``target`` is a YAML file, a shipped config's name, an environment's name, ``file.py[:Class]`` or
    ``module:Class``, or an environment's class or object itself. A shipped config wins over the environment
    of its name. A class that a notebook defines runs in this process only (``workers: 0``).

    Raises:
        UserError: no such thing, no YAML, an unknown field, or a wrong value.
    """
    if isinstance(target, Environment) or (isinstance(target, type) and issubclass(target, Environment)):
        target = spec_of(target)
    if not isinstance(target, str):
        raise UserError(f"load_config takes a name, a file or an environment, not {in_short(target)}")
    values, source = _values_of(target)
    for dotted, value in (overrides or {}).items():
        _put(values, dotted, value)
    return validate(values, source, overrides or {})


def load_stored_config(path: Path, overrides: Mapping[str, Any] | None = None) -> EvalConfig:
    """The config of the run in ``path``, to go on with it, with dotted ``overrides`` over it.

    Raises:
        UserError: ``path`` is no run directory, or as for `load_config`.
    """
    values = read_config(path)
    for dotted, value in (overrides or {}).items():
        _put(values, dotted, value)
    return validate({**values, "out": str(path)}, str(path / "config.yaml"), overrides)


def parse_overrides(assignments: Sequence[str]) -> dict[str, Any]:
    """What ``--set a.b=c`` says: dotted name to YAML-typed value.

    Raises:
        UserError: an assignment without ``=``, or whose value is no YAML.
    """
    overrides: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise UserError(f"--set {assignment!r}: write it as --set field=value, or section.field=value")
        overrides[name.strip()] = parse_yaml(text, f"--set {name.strip()}")
    return overrides


def _values_of(target: str) -> tuple[dict[str, Any], str]:
    if target.endswith(YAML_ENDINGS):
        return _read(Path(target).expanduser())
    shipped = list_configs()
    if target in shipped:
        text = resources.files("rollway.configs").joinpath(f"{target}.yaml").read_text(encoding="utf-8")
        return _mapping(text, f"configs/{target}.yaml"), f"configs/{target}.yaml"
    environments = list_environments()
    if target in environments or is_file_spec(target) or ":" in target:
        return {"environment": target}, "the command line"
    raise UserError(
        f"no environment or config named {target!r}{nearest(target, [*environments, *shipped])}; "
        f"environments: {', '.join(environments)}; configs: {', '.join(shipped)}; "
        f"or give a file: env.py, config.yaml"
    )


def _read(path: Path) -> tuple[dict[str, Any], str]:
    try:
        return _mapping(path.read_text(encoding="utf-8"), str(path)), str(path)
    except FileNotFoundError:
        configs = ", ".join(list_configs())
        raise UserError(f"no config file {path}; shipped configs have names: {configs}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def _mapping(text: str, source: str) -> dict[str, Any]:
    values = parse_yaml(text, source)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(
            f"{source}: a config must be a mapping such as 'environment: calculator', "
            f"not a {type(values).__name__}"
        )
    return values


def _put(values: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, field = dotted.split(".")
    for depth, section in enumerate(sections):
        inner = values.get(section)
        if section == "data" and depth == 0:
            inner = data_section(inner)
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise UserError(f"--set {dotted}: {'.'.join(sections[: depth + 1])} is not a section")
        values[section] = dict(inner)
        values = values[section]
    values[field] = value
