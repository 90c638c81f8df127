"""Environments: what a user writes (`Environment`), and one folder per environment that ships."""

from rollway.environments.base import Environment, Reward, RewardFunction, Task

__all__ = ["Environment", "Reward", "RewardFunction", "Task"]
