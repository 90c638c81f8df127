"""Rollway: multi-turn rollouts for reinforcement learning and evaluation of tool-using language models."""
