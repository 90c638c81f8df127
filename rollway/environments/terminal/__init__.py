"""Shell tasks: those that ship, and folders in the formats of Harbor and Terminal-Bench."""

from rollway.environments.terminal.environment import TerminalEnvironment

__all__ = ["TerminalEnvironment"]
