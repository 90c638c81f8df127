"""The multi-turn loop: ask the model, run the tools it calls, tell it the results, until it answers.

The invariant: at every moment the recorded conversation is valid (each tool call has exactly one tool
message, in the order of the calls) and the record says all that happened so far. Faults of the model, a
tool or the server end in the record; only a programming error raises.
"""

from rollway.agent_loop.loop import AgentLoop

__all__ = ["AgentLoop"]
