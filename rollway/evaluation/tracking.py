"""A run's numbers in Weights & Biases, beside the run directory and never instead of it.

Before the first rollout whatever is wrong ends the command with one line; after it nothing that tracking
does can end the run: the first fault is logged, and tracking is over.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from rollway.errors import UserError
from rollway.evaluation.conversations import conversation, plain_text
from rollway.evaluation.samples import Sample
from rollway.evaluation.summary import RunSummary
from rollway.statistics import Estimate

FINISH_SECONDS = 120.0
"""How long the end of a run waits for its last numbers to be sent."""

MOST_TEXT = 10_000
"""Characters of a conversation in the table of samples."""

SAMPLE_COLUMNS = [
    "why",
    "task_id",
    "sample_index",
    "reward",
    "stop_reason",
    "turns",
    "completion_tokens",
    "tool_errors",
    "error",
    "conversation",
]

_log = logging.getLogger(__name__)


class Tracker:
    """A run of wandb. Made by `start_tracking`; calls after a fault, or after `finish`, do nothing."""

    def __init__(self, run: Any) -> None:
        self._run = run
        # Where to look: an address, or the folder that `wandb sync` takes.
        self.place = str(run.settings.sync_dir if run.offline else run.url)

    def log(self, numbers: Mapping[str, float | int | None]) -> None:
        """Note the numbers so far; those that are ``None`` are left out."""
        known = {name: value for name, value in numbers.items() if value is not None}
        self._guarded("logging numbers", lambda run: run.log(known))

    def finish(self, summary: RunSummary, samples: Sequence[Sample]) -> None:
        """Hand over the summary and a table of trajectories, and end the tracked run."""

        def hand_over(run: Any) -> None:
            import wandb

            run.summary.update(flat_numbers(summary))
            table = wandb.Table(columns=SAMPLE_COLUMNS, data=[sample_row(sample) for sample in samples])
            run.log({"samples": table})

        self._guarded("sending the summary", hand_over)
        self.close()

    def close(self, *, failed: bool = False) -> None:
        """End the tracked run as it is, marked as failed where it was."""
        self._guarded("ending", lambda run: run.finish(exit_code=int(failed)))
        self._run = None

    def _guarded(self, what: str, act: Callable[[Any], None]) -> None:
        if self._run is None:
            return
        try:
            act(self._run)
        except Exception as error:  # a library over a network: anything can go wrong, and none of it matters
            _log.warning("wandb: %s failed, tracking stopped: %s: %s", what, type(error).__name__, error)
            self._run = None


def start_tracking(
    run_directory: Path,
    *,
    project: str,
    config: Mapping[str, Any],
    name: str | None = None,
    entity: str | None = None,
    mode: Literal["online", "offline"] | None = None,
) -> Tracker:
    """Begin to track a run, or go on with the tracked run of this directory.

    Everything that wandb writes lies in ``run_directory/wandb``. ``mode`` None is what wandb is set to.

    Raises:
        UserError: wandb cannot start: no login, no network, a project that is not there.
    """
    import wandb

    try:
        run = wandb.init(
            project=project,
            entity=entity,
            name=name or run_directory.name,
            id=_run_id(run_directory),
            resume="allow",
            reinit="create_new",
            dir=run_directory,
            config=dict(config),
            mode=mode,
            settings=wandb.Settings(
                console="off", silent=True, save_code=False, disable_git=True, finish_timeout=FINISH_SECONDS
            ),
        )
    except Exception as error:
        told = " ".join(str(error).split())
        raise UserError(
            f"wandb cannot start: {told} (set wandb.mode=offline to keep the numbers on this machine)"
        ) from error
    return Tracker(run)


def _run_id(run_directory: Path) -> str:
    """The id under which this directory is tracked; it stays the same when the run is resumed."""
    file = run_directory / "wandb" / "rollway-run-id"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(uuid.uuid4().hex[:12])
    return file.read_text().strip()


def flat_numbers(summary: RunSummary) -> dict[str, float | int]:
    """The known numbers of a summary under names such as ``score/mean_reward`` and ``pass@4``."""
    numbers: dict[str, float | int | None] = {
        "rollouts/asked": summary.asked,
        "rollouts/scored": summary.scored,
        "rollouts/failed": summary.failed,
        "rollouts/missing": summary.missing,
        "turns": summary.turns,
        "tools/calls": summary.tool_calls,
        "tokens/prompt": summary.prompt_tokens,
        "tokens/completion": summary.completion_tokens,
        "tokens/cached": summary.cached_tokens,
        "tokens/per_second": summary.tokens_per_second,
        "seconds/wall": summary.wall_seconds,
        "retries": summary.retries,
    }
    numbers |= _estimated("score/mean_reward", summary.mean_reward)
    numbers |= _estimated("score/mean_reward_of_asked", summary.mean_reward_of_asked)
    for name, estimate in summary.rewards.items():
        numbers |= _estimated(f"rewards/{name}", estimate)
    for rate in summary.pass_rates:
        numbers |= _estimated(f"pass@{rate.k}", rate.pass_at_k) | _estimated(
            f"pass^{rate.k}", rate.pass_hat_k
        )
    for group, counts in (("failures", summary.failures), ("stopped", summary.stop_reasons)):
        numbers |= {f"{group}/{name}": n for name, n in counts.items()}
    for tool, kinds in summary.tool_errors.items():
        numbers |= {f"tool_errors/{tool or 'unreadable'}/{kind}": n for kind, n in kinds.items()}
    for name in ("turn", "first_token", "rollout"):
        spread = getattr(summary, f"{name}_seconds")
        if spread is not None:
            numbers |= {
                f"seconds/{name}/{point}": value for point, value in msgspec.structs.asdict(spread).items()
            }
    return {name: value for name, value in numbers.items() if value is not None}


def _estimated(name: str, estimate: Estimate | None) -> dict[str, float | int | None]:
    if estimate is None:
        return {}
    return {name: estimate.mean, f"{name}/low": estimate.low, f"{name}/high": estimate.high}


def sample_row(sample: Sample) -> list[Any]:
    """One row of the table of samples, in the order of `SAMPLE_COLUMNS`."""
    trajectory = sample.trajectory
    error = trajectory.error
    return [
        str(sample.why),
        trajectory.task_id,
        trajectory.sample_index,
        trajectory.reward,
        str(trajectory.stop_reason),
        len(trajectory.turns),
        sum(turn.usage.completion_tokens for turn in trajectory.turns),
        len(trajectory.tool_errors),
        f"{error.kind}: {error.message}" if error else None,
        plain_text(conversation(sample))[:MOST_TEXT],
    ]
