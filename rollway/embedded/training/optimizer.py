"""Muon for the matrices inside the layers, AdamW for embeddings and norms, one schedule for both.

Muon turns each momentum matrix into a nearly orthogonal one before the step, which on a model this small
learns in fewer steps than AdamW. Muon: https://kellerjordan.github.io/posts/muon/
"""

from __future__ import annotations

from typing import Any

import msgspec

MUON_RATE = 0.02
ADAM_RATE = 3e-3
_MOMENTUM = 0.95
_ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_LAST_RATE = 0.02


class Optimizer(msgspec.Struct):
    """The state of training: parameters by kind, and Muon's momenta."""

    matrices: list[Any]
    momenta: list[Any]
    adam: Any  # torch.optim.AdamW of everything else


def build_optimizer(model: Any) -> Optimizer:
    """Sort the model's parameters into the two kinds."""
    import torch

    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    adam = torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    return Optimizer(inner, [torch.zeros_like(p) for p in inner], adam)


def schedule(step: int, steps: int) -> float:
    """The factor on both learning rates: 1 for the first half, then linear down to 0.02."""
    half = steps / 2
    return 1.0 if step < half else 1.0 - (1.0 - _LAST_RATE) * (step - half) / half


def update(optimizer: Optimizer, factor: float) -> None:
    """One step with the gradients that are there, which are then cleared."""
    import torch

    for group in optimizer.adam.param_groups:
        group["lr"] = ADAM_RATE * factor
    optimizer.adam.step()
    optimizer.adam.zero_grad(set_to_none=True)
    with torch.no_grad():
        for matrix, momentum in zip(optimizer.matrices, optimizer.momenta, strict=True):
            momentum.lerp_(matrix.grad, 1 - _MOMENTUM)
            direction = _orthogonal(matrix.grad.lerp(momentum, _MOMENTUM))
            scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
            matrix.add_(direction, alpha=-MUON_RATE * factor * scale)
            matrix.grad = None


def _orthogonal(matrix: Any) -> Any:
    """Newton-Schulz: the singular values all near 1, the singular vectors kept."""
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
