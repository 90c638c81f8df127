"""Trajectories as what trainers read: arrays of their tokens, and tables of whole runs."""

from rollway.export.arrays import (
    UNKNOWN,
    TokenArrays,
    Truncation,
    sequence_arrays,
    trajectory_arrays,
    truncate,
)
from rollway.export.batches import Batch, Targets, pack, pad, shift, unpack
from rollway.export.runs import (
    Exported,
    export_run,
    to_dataset,
    write_jsonl,
    write_parquet,
    write_parquet_folder,
)

__all__ = [
    "UNKNOWN",
    "Batch",
    "Exported",
    "Targets",
    "TokenArrays",
    "Truncation",
    "export_run",
    "pack",
    "pad",
    "sequence_arrays",
    "shift",
    "to_dataset",
    "trajectory_arrays",
    "truncate",
    "unpack",
    "write_jsonl",
    "write_parquet",
    "write_parquet_folder",
]
