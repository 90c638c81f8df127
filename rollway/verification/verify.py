"""Verify stored trajectories: their internal consistency, and the policy's logprobs.

Trajectories are read one at a time and each sequence is sent once: time is linear in the run's tokens, and
memory holds only the part in progress.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from rollway.errors import UserError
from rollway.evaluation.clients import check_server, read_api_key
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.config_files import load_stored_config
from rollway.evaluation.model_server import starting_server
from rollway.evaluation.run_directory import read_trajectories
from rollway.event_loop import new_event_loop
from rollway.inference.prompt_scores import NoPromptLogprobs, PromptScorer
from rollway.inference.protocol import Sampling
from rollway.inference.sampling_fields import effective, shaped_by
from rollway.scoring.stored import StoredRun
from rollway.trajectory import Trajectory
from rollway.verification.drawn import TOP
from rollway.verification.recompute import Job, Recomputed
from rollway.verification.records import EMBEDDED_BOUNDS, SERVER_BOUNDS, Bounds, VerificationReport
from rollway.verification.survey import Survey

CONCURRENCY = 32
"""Sequences that are being recomputed at a time."""

OnProgress = Callable[[int, int], None]
"""Told of the rollouts read and the sequences recomputed so far, each time a sequence is done."""


class _Plan(NamedTuple):
    """How a verification is done, and what its report is to say."""

    run: str
    bounds: Bounds
    weight_version: str | None
    concurrency: int
    on_progress: OnProgress | None
    notes: list[str]
    stated: Mapping[str, Any] | None  # what tokens were drawn with, where a trajectory does not say it
    likeliest: int = 0  # tokens to ask for at each place


def verify_run(
    path: Path,
    *,
    changes: Mapping[str, Any] | None = None,
    bounds: Mapping[str, float | None] | None = None,
    rollouts: int | None = None,
    weight_version: str | None = None,
    concurrency: int = CONCURRENCY,
    likeliest: int = TOP,
    on_progress: OnProgress | None = None,
) -> VerificationReport:
    """Verify a run directory against the policy that its config names.

    Args:
        changes: fields of the config's ``model`` section to change, such as ``base_url`` and ``name``.
        bounds: fields of `Bounds` to change; the others are `EMBEDDED_BOUNDS` if the embedded policy is
            served for it, and `SERVER_BOUNDS` elsewhere.
        rollouts: verify only the first N; None for all.
        weight_version: check only tokens sampled by this version of the weights.
        concurrency: limit on sequences in flight.
        likeliest: number of likeliest tokens to request at each place, to test whether the sampled ones were
            drawn from the recorded distribution; 0 skips the test.

    Raises:
        UserError: there is no such run, nothing in it can be checked, there is no server, or it gives no
            prompt logprobs.
        InferenceError: the server stopped answering.
    """
    StoredRun(path)  # complains where there is none
    config = load_stored_config(path, {f"model.{name}": value for name, value in (changes or {}).items()})
    defaults = EMBEDDED_BOUNDS if config.model.base_url is None else SERVER_BOUNDS
    fields = {name: getattr(defaults, name) for name in Bounds.__struct_fields__}
    survey, stored = Survey(), itertools.islice(read_trajectories(path), rollouts)
    jobs = _some_jobs(survey, survey.jobs(stored), path)
    plan = _Plan(
        run=str(path),
        bounds=Bounds(**(fields | dict(bounds or {}))),
        weight_version=weight_version,
        concurrency=concurrency,
        on_progress=on_progress,
        notes=sampling_notes(config.sampling),
        stated=effective(config.sampling),
        likeliest=likeliest,
    )
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_verify(config, survey, jobs, plan))


async def verify_trajectories(
    trajectories: Iterable[Trajectory],
    scorer: PromptScorer,
    *,
    bounds: Bounds = SERVER_BOUNDS,
    weight_version: str | None = None,
    concurrency: int = CONCURRENCY,
    run: str = "",
    sampling: Sampling | None = None,
    on_progress: OnProgress | None = None,
) -> VerificationReport:
    """Verify trajectories in memory. ``run`` names them in the report.

    With a scorer that asks for likeliest tokens (its ``top``, 20 at best) it is tested, too, whether tokens
    were drawn from the distribution on record. ``sampling`` is how trajectories were sampled that do not say
    it themselves.

    Raises:
        NoPromptLogprobs: the server gives none.
        InferenceError: it gave no answer.
    """
    survey = Survey()
    stated = None if sampling is None else effective(sampling)
    plan = _Plan(run, bounds, weight_version, concurrency, on_progress, [], stated)
    return await _recompute(survey, survey.jobs(trajectories), scorer, plan)


def _some_jobs(survey: Survey, jobs: Iterator[Job], path: Path) -> Iterator[Job]:
    """The same jobs, the first of them at hand.

    Raises:
        UserError: there is none.
    """
    first = next(jobs, None)
    if first is not None:
        return itertools.chain([first], jobs)
    if survey.mismatches:
        return iter(())
    if survey.sampled_tokens:
        reasons = ", ".join(f"{n} {reason}" for reason, n in survey.untrainable_turns.items())
        raise UserError(f"nothing to verify: no turn of {path} can be trained on: {reasons}")
    raise UserError(
        f"{path} has no token ids: request them with --set model.token_ids=true "
        "--set model.logprobs=true when rolling out"
    )


async def _verify(config: EvalConfig, survey: Survey, jobs: Iterator[Job], plan: _Plan) -> VerificationReport:
    api_key = read_api_key(config)
    async with _served(config) as base_url:
        model = msgspec.structs.replace(config.model, base_url=base_url)
        model = await check_server(msgspec.structs.replace(config, model=model), api_key)
        async with PromptScorer(
            base_url,
            model.name or "",
            api_key,
            timeouts=model.timeouts,
            retry=model.retry,
            top=plan.likeliest,
        ) as scorer:
            try:
                return await _recompute(survey, jobs, scorer, plan)
            except NoPromptLogprobs as error:
                raise UserError(str(error)) from None


@asynccontextmanager
async def _served(config: EvalConfig) -> AsyncIterator[str]:
    """The address of the policy; the embedded one is served as long as the block runs."""
    if config.model.base_url is not None:
        yield config.model.base_url
        return
    if config.model.policy is None:
        raise UserError("the run used a hosted provider: give --base-url and --model")
    async with starting_server(config.model) as starting:
        yield await starting


async def _recompute(
    survey: Survey, jobs: Iterator[Job], scorer: PromptScorer, plan: _Plan
) -> VerificationReport:
    started = time.monotonic()
    found = Recomputed(plan.bounds, plan.weight_version, plan.stated)

    def told() -> None:
        if plan.on_progress is not None:
            plan.on_progress(survey.trajectories, found.sequences)

    await found.run(jobs, scorer, concurrency=plan.concurrency, on_done=told)
    return VerificationReport(
        run=plan.run,
        server=scorer.server,
        model=scorer.model,
        bounds=plan.bounds,
        notes=plan.notes,
        trajectories=survey.trajectories,
        turns=survey.turns,
        sampled_tokens=survey.sampled_tokens,
        dropped_stops=survey.dropped_stops,
        untrainable_turns=dict(survey.untrainable_turns),
        untrainable_tokens=survey.untrainable_tokens,
        turns_by_fit=_plain(survey.turns_by_fit),
        sequences=_plain(survey.sequences),
        sequence_tokens=survey.sequence_tokens,
        unchecked=_plain(survey.unchecked() + found.unchecked),
        differences=found.all.differences(),
        by_version={name: tally.differences() for name, tally in sorted(found.by_version.items())},
        suspect_turns=found.suspect_turns,
        suspect_from_start=found.suspect_from_start,
        worst=found.worst.listed(),
        drawn=found.drawn,
        mismatches=_plain(survey.mismatches),
        mismatched_tokens=survey.mismatched_tokens,
        examples=survey.examples,
        seconds=time.monotonic() - started,
    )


def _plain(counts: Counter[Any]) -> dict[str, int]:
    """By plain name, the most frequent first."""
    return {str(name): n for name, n in counts.most_common()}


def sampling_notes(sampling: Sampling) -> list[str]:
    """What must be known to read the numbers: logprobs are compared with the model's own distribution."""
    stated = effective(sampling)
    notes = []
    if sampling.defaults == "server":
        unsaid = "the server's default temperature, " if "temperature" not in stated else ""
        notes.append(
            f"sampled with {unsaid}and whatever else the run left to the server (sampling.defaults: "
            "server): held against the model's own distribution"
        )
    changed = [f"{name}={value}" for name, value in shaped_by(stated).items()]
    if changed:
        notes.append(
            f"sampled with {', '.join(changed)}: the recorded logprobs must be those of the model's "
            "own distribution all the same, as vLLM's are by default (SGLang's are after temperature), and "
            "the KL is then no unbiased estimate"
        )
    return notes
