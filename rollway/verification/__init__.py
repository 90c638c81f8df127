"""Proving that stored trajectories are what was sampled, with the logprobs it was sampled at."""

from rollway.verification.records import (
    EMBEDDED_BOUNDS,
    SERVER_BOUNDS,
    Begun,
    Bounds,
    Differences,
    Mismatch,
    TokenDifference,
    TurnMismatch,
    Unchecked,
    VerificationReport,
)
from rollway.verification.verify import verify_run, verify_trajectories

__all__ = [
    "EMBEDDED_BOUNDS",
    "SERVER_BOUNDS",
    "Begun",
    "Bounds",
    "Differences",
    "Mismatch",
    "TokenDifference",
    "TurnMismatch",
    "Unchecked",
    "VerificationReport",
    "verify_run",
    "verify_trajectories",
]
