"""Scores: of one trajectory as it ends, and of stored trajectories without the model."""

from rollway.scoring.offline import ScoringInterrupted, score_run
from rollway.scoring.records import ScoreRow, ScoreSummary
from rollway.scoring.rewards import needs_sandbox, score_trajectory

__all__ = ["ScoreRow", "ScoreSummary", "ScoringInterrupted", "needs_sandbox", "score_run", "score_trajectory"]
