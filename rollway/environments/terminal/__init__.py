"""Tasks to be done in a shell: our own, and folders in the forms of Harbor and Terminal-Bench."""

from rollway.environments.terminal.environment import TerminalEnvironment

__all__ = ["TerminalEnvironment"]
