"""What `rollway.interrupts` has for a run."""

from rollway.interrupts import INTERRUPTED, interrupts_call

__all__ = ["INTERRUPTED", "interrupts_call"]
