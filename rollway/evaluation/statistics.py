"""The statistics of an evaluation. They stand in `rollway.statistics`, where offline scoring and export
reach them too; this is the place where people look for them."""

from rollway.statistics import (
    Estimate,
    PassRate,
    clustered_mean,
    clustered_mean_of_sums,
    group_advantages,
    pass_at_k,
    pass_hat_k,
    pass_rates,
    percentiles,
    powers_up_to,
)

__all__ = [
    "Estimate",
    "PassRate",
    "clustered_mean",
    "clustered_mean_of_sums",
    "group_advantages",
    "pass_at_k",
    "pass_hat_k",
    "pass_rates",
    "percentiles",
    "powers_up_to",
]
