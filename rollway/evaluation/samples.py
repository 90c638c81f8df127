"""Which trajectories of a run are worth a look: some of the best, the worst, the failed and the cut short.

Chosen in one pass, the same ones whatever the order in which the rollouts ended, and never more are held
than could be chosen.
"""

from __future__ import annotations

import hashlib
import heapq
from enum import StrEnum

import msgspec

from rollway.evaluation.summary import failure_kind
from rollway.trajectory import StopReason, Trajectory


class Why(StrEnum):
    """Why a trajectory was chosen."""

    BEST = "best"
    WORST = "worst"
    CUT_SHORT = "cut short"
    FAILED = "failed"


class Sample(msgspec.Struct, frozen=True):
    """A trajectory that was chosen."""

    why: Why
    trajectory: Trajectory


ENDED_BY_ITSELF = frozenset({StopReason.COMPLETED, StopReason.TOOL_STOPPED, StopReason.ENVIRONMENT_DONE})
"""Stop reasons of rollouts that came to their end; the other scored ones ran into a limit."""


class SampleChooser:
    """Takes the trajectories of a run, and in the end names at most ``most`` of them."""

    def __init__(self, most: int = 20) -> None:
        self._most = most
        self._heaps: dict[Why, list[tuple[float, int, str, int, Trajectory]]] = {why: [] for why in Why}

    def add(self, trajectory: Trajectory) -> None:
        """Consider one finished rollout. It is held as it is, and may be chosen."""
        if failure_kind(trajectory) is not None or trajectory.reward is None:
            self._offer(Why.FAILED, 0.0, trajectory)
        elif trajectory.stop_reason not in ENDED_BY_ITSELF:
            self._offer(Why.CUT_SHORT, 0.0, trajectory)
        else:
            self._offer(Why.BEST, trajectory.reward, trajectory)
            self._offer(Why.WORST, -trajectory.reward, trajectory)

    def _offer(self, why: Why, worth: float, trajectory: Trajectory) -> None:
        key = _key(trajectory)
        # Equals are drawn by lot, so that the first tasks are not all that is seen.
        lot = int.from_bytes(hashlib.blake2b(f"{key[0]}\0{key[1]}".encode(), digest_size=8).digest())
        heap, entry = self._heaps[why], (worth, lot, *key, trajectory)
        if len(heap) < self._most:
            heapq.heappush(heap, entry)
        elif heap and entry[:4] > heap[0][:4]:
            heapq.heapreplace(heap, entry)

    def chosen(self) -> list[Sample]:
        """The sample, grouped by `Why`, the most telling first. No trajectory stands in it twice."""
        ranked = {
            why: [entry[-1] for entry in sorted(heap, key=lambda entry: entry[:4])]
            for why, heap in self._heaps.items()
        }
        picked: dict[Why, list[Trajectory]] = {why: [] for why in Why}
        taken: set[tuple[str, int]] = set()
        left = self._most
        while left and any(ranked.values()):
            for why, candidates in ranked.items():
                while candidates and _key(candidates[-1]) in taken:
                    candidates.pop()
                if candidates and left:
                    picked[why].append(candidates.pop())
                    taken.add(_key(picked[why][-1]))
                    left -= 1
        return [
            Sample(why, trajectory) for why, trajectories in picked.items() for trajectory in trajectories
        ]


def _key(trajectory: Trajectory) -> tuple[str, int]:
    return (trajectory.task_id, trajectory.sample_index)
