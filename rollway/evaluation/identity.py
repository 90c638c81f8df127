"""Is what a run goes on with what it began with: its tasks, its environment's source, the weights behind it?

The invariant: rollouts of different tasks, environments or weights stand in one record only where somebody
said so, and then the record says it, too. A run in which nothing counts yet may begin anew.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rollway.environments.base import Task
from rollway.environments.sources import file_digests, source_digests
from rollway.errors import UserError, nearest
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.plan import Plan
from rollway.evaluation.run_directory import RunDirectory
from rollway.evaluation.sittings import earlier_sittings, seconds_of
from rollway.inference.served_identity import ask_served, folder_digest
from rollway.stored.identity import (
    ALLOWANCES,
    APPROVAL,
    CHANGED_ENVIRONMENT,
    CHANGED_TASKS,
    OTHER_WEIGHTS,
    Allowed,
    Identity,
    Served,
    Sitting,
    changed_files,
    read_identity,
    some_of,
    write_identity,
)
from rollway.stored.task_digests import Fields, TaskDigests, task_fields

NOT_KNOWN = (
    "the run has no identity.json, since an older version began it: nobody can tell whether its tasks, its "
    "environment and the model's weights are what they were; from now on they are on record"
)

_log = logging.getLogger(__name__)


class RunIdentity:
    """What a run is of. `check` and `check_served` compare and write nothing; `begin` puts on record what the
    run goes on with; `saw_task` then takes each task before its rollouts begin. Close it."""

    def __init__(self, plan: Plan, run: RunDirectory, allow: Collection[str] = ()) -> None:
        for one in allow:
            if one not in ALLOWANCES:
                raise UserError(
                    f"allow: {one!r} is unknown{nearest(one, ALLOWANCES)}; may be {', '.join(ALLOWANCES)}"
                )
        self._plan, self._run, self._allow = plan, run, frozenset(allow)
        self._before = read_identity(run.path)
        self._sittings = earlier_sittings(run.path)
        self._source = _source(plan.config)
        self._served: Served | None = None
        self._digests = TaskDigests(run.path)
        self._changed: dict[str, Fields] = {}  # tasks that were allowed to change
        self._allowed: list[Allowed] = []
        self._counts = bool(run.done) or run.unscored_count > 0  # is there anything to be mixed with?
        self._tells_tasks = plan.config.data is None  # else its fingerprint does, and rows are not read twice

    @property
    def seconds(self) -> float | None:
        """How long the run took in earlier sittings; ``None``: that is not known."""
        return seconds_of(self._sittings)

    @property
    def warnings(self) -> list[str]:
        """What is to be said before the run goes on."""
        told = [NOT_KNOWN] if self._counts and self._before is None else []
        return told + [f"allowed: {one.told}" for one in self._allowed]

    def check_lost(self) -> None:
        """See that what is on record is still part of the run.

        Raises:
            UserError: a rollout is not, and that is not allowed.
        """
        lost = self._run.unasked
        if lost is not None:
            told = f"task {lost[0]!r} is on record, and the environment no longer has it"
            self._refuse(CHANGED_TASKS, told, "its rollouts would no longer count")

    def check(self) -> None:
        """See that the environment and the tasks are what they were.

        Raises:
            UserError: they are not, and that is not allowed; or a task cannot be compared.
        """
        if not self._counts or self._before is None:
            return
        files = changed_files(self._before.source, self._source)
        if self._before.source and files:
            told = f"the environment's source is not what it was when the run began ({some_of(files)})"
            self._refuse(CHANGED_ENVIRONMENT, told, "new rollouts would be of another environment")
        self._check_tasks()

    def _check_tasks(self) -> None:
        if not self._tells_tasks or not len(self._digests):
            return
        counted = {task_id for task_id, _ in self._run.counted()}
        for task_id, read in self._plan.tasks.entries(lambda one: one in counted and one in self._digests):
            try:
                fields = task_fields(read())
            except Exception as error:  # its own rollouts will say so
                _log.warning("task %r cannot be compared with what it was: %s", task_id, error)
                continue
            if not self._digests.matches(task_id, fields):
                self._changed[task_id] = fields
        if self._changed:
            told = self._digests.told(self._changed)
            self._refuse(CHANGED_TASKS, told, "rollouts of different tasks would be mixed")

    async def check_served(self, config: EvalConfig) -> None:
        """See that the model is what it was. ``model.base_url`` and ``model.name`` must be filled in.

        Raises:
            UserError: it is not, and that is not allowed.
        """
        self._served = await _served(config, self._plan)
        before = self._before.served if self._before is not None else None
        if not self._counts or before is None:
            return
        changed = _changed_model(before, self._served)
        if changed:
            told = f"the model is not what it was when the run began ({some_of(changed)})"
            self._refuse(OTHER_WEIGHTS, told, "samples of different weights would be mixed")

    def begin(self) -> None:
        """Put on record what the run goes on with.

        Raises:
            UserError: it cannot be written.
        """
        before = self._before if self._counts else None
        allowed = (before.allowed if before is not None else []) + self._allowed
        self._before = Identity(
            rollway=before.rollway if before is not None else _version(),
            source=self._source,
            served=self._served or (before.served if before is not None else None),
            allowed=allowed,
            sittings=[*self._sittings, Sitting(time.time())],
        )
        try:
            for task_id, fields in self._changed.items():
                self._digests.add(task_id, fields)
            write_identity(self._run.path, self._before)
        except OSError as error:
            raise _cannot_write(self._run.path, error) from None
        self._allowed, self._changed = [], {}

    def end(self, seconds: float) -> None:
        """Put on record how long the sitting took that `begin` began.

        Raises:
            OSError: it cannot be written.
        """
        if self._before is not None and self._before.sittings:
            self._before.sittings[-1] = Sitting(self._before.sittings[-1].began, seconds)
            write_identity(self._run.path, self._before)

    def note_allowed(self) -> None:
        """Put on record what was allowed, of a run in which nothing is left to be done.

        Raises:
            UserError: it cannot be written.
        """
        if self._allowed:
            self._before = self._before or Identity(sittings=self._sittings)
            self._before.allowed += self._allowed
            try:
                write_identity(self._run.path, self._before)
            except OSError as error:
                raise _cannot_write(self._run.path, error) from None
            self._allowed = []

    def saw_task(self, task_id: str, task: Task) -> None:
        """Put a task on record before a rollout of it begins.

        Raises:
            OSError: it cannot be written.
        """
        if self._tells_tasks:
            self._digests.add(task_id, task_fields(task))

    def close(self) -> None:
        """Let go of the files."""
        self._digests.close()

    def _refuse(self, what: str, told: str, why: str) -> None:
        if what not in self._allow:
            raise UserError(
                f"{self._run.path}: {told}: {why}; bring back what it was, begin a new run, or pass "
                f"--allow-{what}, which the summary then says"
            )
        self._allowed.append(Allowed(what, time.time(), told))


def _source(config: EvalConfig) -> dict[str, str]:
    """The files of the user's code: the environment's, and the approval function's."""
    try:
        source = source_digests(config.environment)
        approval = config.tools.approval
        if approval is not None and approval.ask is not None:
            file = Path(approval.ask.rpartition(":")[0]).expanduser()
            source |= {APPROVAL + name: digest for name, digest in file_digests(file).items()}
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror or error}") from None
    return source


async def _served(config: EvalConfig, plan: Plan) -> Served:
    policy, model = plan.config.model.policy, config.model
    if policy is not None:  # our own server: it says nothing that the folder does not
        from rollway.embedded.policy import find_policy  # brings numpy

        return Served(id=model.name or "", folder=folder_digest(find_policy(policy)))
    if model.backend == "openai" or model.base_url is None:
        return Served(id=model.name or "")
    return await ask_served(model.base_url, model.name or "", plan.api_key)


def _changed_model(before: Served, now: Served) -> list[str]:
    """What is known of both and is not as it was. The same files are the same model, wherever they lie."""
    fields = ["id", "max_model_len", "weight_version"]
    fields += ["folder"] if before.folder and now.folder else ["root"]
    told = []
    for field in fields:
        old, new = getattr(before, field), getattr(now, field)
        if old is None or new is None or old == new:
            continue
        is_folder = field == "folder"
        told.append("the files of its folder changed" if is_folder else f"{field} was {old!r} and is {new!r}")
    return told


def _cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write to {path}: {error.strerror or error}")


def _version() -> str:
    try:
        return version("rollway")
    except PackageNotFoundError:
        return ""
