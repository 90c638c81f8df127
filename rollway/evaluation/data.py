"""A run over data: it takes the place of the environment's tasks, and the config says which data it was.

The invariant: a run is resumed over the rows that it began with, or refused.
"""

from __future__ import annotations

import msgspec

from rollway.data import DatasetSource, find_rows
from rollway.environments.base import Environment, Task, environment_name
from rollway.errors import UserError
from rollway.evaluation.config import EvalConfig


def settle_data(config: EvalConfig, environment: Environment) -> EvalConfig:
    """Give the environment the rows that ``config.data`` names; the config says what they are.

    Raises:
        UserError: there are no such rows, or others than ``config`` knows.
    """
    data = config.dataset
    if data is None:
        return config
    split = data.split or config.split or "test"
    source = DatasetSource(data.source, data.name, split, data.revision)
    found = find_rows(source, split, fingerprint=data.fingerprint)
    environment.tasks = lambda split: found.rows  # type: ignore[method-assign]
    settled = {"split": split, "revision": found.revision, "fingerprint": found.fingerprint}
    return msgspec.structs.replace(config, data=msgspec.structs.replace(data, **settled))


def refuse_lacking_columns(config: EvalConfig, environment: Environment, first: Task) -> None:
    """See that a prompt can be made of the first row.

    Raises:
        UserError: it lacks a column that the environment reads.
    """
    if config.dataset is None:
        return
    try:
        environment.prompt(first)
    except KeyError as error:
        column = error.args[0] if error.args else None
        if column in first:
            return
        raise UserError(
            f"data: the first row of {config.dataset.source} has no {column!r}, which "
            f"{environment_name(environment)}.prompt reads; it has: {', '.join(map(str, first))}"
        ) from error
    except Exception:
        return  # the rollout that it ends keeps it, with its traceback
