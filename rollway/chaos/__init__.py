"""Runs in which everything breaks, and a judge that does not ask the engine whether it held."""
