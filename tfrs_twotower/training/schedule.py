"""The learning rate of each step."""

import math

from tfrs_twotower.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, step: int, horizon: int) -> float:
    """Linear warm-up, then constant or cosine decay.

    Args:
        config: peak rate, warm-up and kind of decay.
        step: the update it is for, counted from 1.
        horizon: step at which cosine decay arrives at zero.

    Returns:
        The rate: peak * step / warmup_steps until the warm-up ends.
    """
    warm_up = min(1.0, step / config.warmup_steps) if config.warmup_steps else 1.0
    rate = config.learning_rate * warm_up
    if config.decay == "cosine" and step > config.warmup_steps:
        span = max(horizon - config.warmup_steps, 1)
        done = min((step - config.warmup_steps) / span, 1.0)
        rate *= 0.5 * (1.0 + math.cos(math.pi * done))
    return rate
