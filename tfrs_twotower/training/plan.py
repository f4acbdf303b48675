"""How many steps training takes, of what size, and when it looks at validation."""

from dataclasses import dataclass

from tfrs_twotower.config import FittingConfig
from tfrs_twotower.data.negative_lists import Phase
from tfrs_twotower.errors import TrainingError


@dataclass(frozen=True)
class Plan:
    """One training, in steps.

    Attributes:
        phase: `fit` or `refit`.
        batch_size: global batch.
        num_examples: examples of an epoch.
        horizon: step at which cosine decay would arrive at zero.
        last_step: training ends here at the latest.
        evaluate_every: steps between evaluations.
    """

    phase: Phase
    batch_size: int
    num_examples: int
    horizon: int
    last_step: int
    evaluate_every: int

    def epoch(self, step: int) -> float:
        """Passes over the examples after that many steps."""
        return step * self.batch_size / self.num_examples


def fit_batch_size(num_examples: int, config: FittingConfig) -> tuple[int, str]:
    """A batch size that leaves at least two batches in an epoch.

    Returns:
        The batch size, and a message if it is smaller than the config's, else "".

    Raises:
        TrainingError: there are too few examples for any.
    """
    replicas = config.replicas
    if num_examples >= 2 * config.batch_size:
        return config.batch_size, ""
    batch_size = num_examples // 2 // replicas * replicas
    if batch_size < 2 * replicas:
        raise TrainingError(
            f"training: found {num_examples} training examples; in-batch negatives need at least "
            f"{4 * replicas} (two batches of two for each replica). Look at relevance.min_label "
            "and split in the feature spec, or get more interactions."
        )
    return batch_size, (
        f"training.batch_size {config.batch_size} is lowered to {batch_size}: there are only "
        f"{num_examples} training examples"
    )


def plan_fit(num_examples: int, batch_size: int, config: FittingConfig) -> Plan:
    """The first training: all that the config allows."""
    per_epoch = num_examples / batch_size
    steps = config.max_steps or max(1, round((config.epochs or 1) * per_epoch))
    evaluate_every = max(1, round(config.evaluate_every_epochs * per_epoch))
    return Plan("fit", batch_size, num_examples, steps, steps, evaluate_every)


def plan_refit(first: Plan, best_step: int, num_examples: int) -> Plan:
    """The second training: as many passes over more examples, at the same rates on the way."""
    growth = num_examples / first.num_examples
    return Plan(
        "refit",
        first.batch_size,
        num_examples,
        horizon=max(1, round(first.horizon * growth)),
        last_step=max(1, round(best_step * growth)),
        evaluate_every=first.last_step * num_examples,  # never
    )
