"""Trajectories as what trainers read."""

from rollway.export.arrays import (
    UNKNOWN,
    TokenArrays,
    Truncation,
    sequence_arrays,
    trajectory_arrays,
    truncate,
)
from rollway.export.batches import Batch, Targets, pack, pad, shift, unpack

__all__ = [
    "UNKNOWN",
    "Batch",
    "Targets",
    "TokenArrays",
    "Truncation",
    "pack",
    "pad",
    "sequence_arrays",
    "shift",
    "trajectory_arrays",
    "truncate",
    "unpack",
]
