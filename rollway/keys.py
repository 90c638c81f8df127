"""The keys of rollouts, and a set of them small enough for a run of millions: a bit for each sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set

Key = tuple[str, int]
"""(task_id, sample_index)"""


class KeySet(Set[Key]):
    """Keys that can be added, and asked for. Sample indices are not negative.

    Room for the keys of ``tasks`` is made at once.
    """

    def __init__(self, keys: Iterable[Key] = (), *, tasks: Iterable[str] = ()) -> None:
        self._samples: dict[str, int] = dict.fromkeys(tasks, 0)  # of each task; bit n stands for sample n
        self._count = 0
        for key in keys:
            self.add(key)

    def add(self, key: Key) -> None:
        """Put ``key`` in, if it is not there already."""
        if key not in self:
            task_id, sample = key
            self._samples[task_id] = self._samples.get(task_id, 0) | 1 << sample
            self._count += 1

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, tuple):
            return False
        task_id, sample = key
        return bool(sample >= 0 and self._samples.get(task_id, 0) >> sample & 1)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Key]:
        for task_id, samples in self._samples.items():
            for sample in range(samples.bit_length()):
                if samples >> sample & 1:
                    yield task_id, sample
