"""What a run leaves on disk, as its readers see it: which lines count, and what the run was of.

Nothing here writes into a run but its identity; the run directory itself belongs to `rollway.evaluation`.
"""
