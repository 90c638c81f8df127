"""HTTP in the shape of vLLM's server, over the embedded engine: one file per group of endpoints."""
