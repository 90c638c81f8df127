"""Scores: of one trajectory as it ends, and of stored trajectories without the model."""

from rollway.scoring.rewards import score_trajectory

__all__ = ["score_trajectory"]
