"""Arithmetic in several turns, one tool call for each operation."""

from rollway.environments.calculator.environment import CalculatorEnvironment

__all__ = ["CalculatorEnvironment"]
