"""How the embedded policies are made: ``python -m rollway.embedded.training.train --help``.

Needs the extra ``train`` (torch, transformers, safetensors).
"""
