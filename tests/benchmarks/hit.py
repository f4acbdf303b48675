"""A generator in the place of DAT's table (HIT: hierarchical interaction tower), beside DAT.

    twotower run RUN.yaml --workdir D --to preprocess
    python -m tests.benchmarks.hit --config RUN.yaml --preprocessed D/preprocessed

A small network reads a tower's own features and predicts the other tower's vector of its positives,
with a loss of cosines that moves the network alone; the prediction is a further summand of the
tower, as an augmented vector of DAT is. DAT learns one vector for each id and has none for a new
one; a prediction is there for any record. With several heads a vector is cut into parts of norm 1,
and a score is the mean of their cosines. The paper was not at hand: what is here follows a
description of its released code, in generators, loss and stop-gradient; the heads are our reading.

The towers train on a run's preprocessed examples with its sections `model` and `training`, without
a second fit and a wide part; figures are those of the validation queries, in the epoch that is best
for the metric of `training.early_stopping`.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.config import FieldsConfig, MimicConfig, RunConfig, load_run_config, spec_path
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.features.tower_inputs import Tokens
from tfrs_twotower.layers import bodies, seeded
from tfrs_twotower.layers.history_transformer import field_tokens
from tfrs_twotower.specs import FeatureSpec, load_spec
from tfrs_twotower.tasks.objective import Term
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.tasks.terms import MimicTerm
from tfrs_twotower.towers.augmentation import Augmentation, Augmented
from tfrs_twotower.towers.dat import DatTower
from tfrs_twotower.towers.plain import PlainTower
from tfrs_twotower.towers.tower import Tower, Towers
from tfrs_twotower.training.reports import ignore_report
from tfrs_twotower.training.retrieval_job import RetrievalJob
from tfrs_twotower.training.training_data import open_training_data

METRICS = ("ndcg@10", "recall@100")
NUM_HEADS = 4
Job = Callable[..., RetrievalJob]


class GeneratedAugmentation(Augmentation):
    """The other tower's vector, as a network predicts it from this tower's field vectors.

    Predictions have norm 1, so that the squared distance of the mimic loss is 2 - 2 cos. Field
    vectors are read and not trained: tables may belong to both towers.
    """

    learned = True

    def __init__(self, tower: PlainTower, weights: seeded.WeightMaker, dim: int) -> None:
        """Makes a network with one hidden layer over the fields of a tower."""
        super().__init__(name="generator")
        self._features = [feature.name for feature in tower.inputs.features]
        self._fields = list(tower.fields)
        width = dim * len(self._fields)
        self._hidden = weights.normal("hidden", [width, 2 * dim], width**-0.5)
        self._hidden_bias = weights.constant("hidden_bias", [2 * dim], 0.0)
        self._kernel = weights.normal("kernel", [2 * dim, dim], (2 * dim) ** -0.5)

    def __call__(self, tokens: Tokens, dropout: seeded.TrainingDropout | None) -> Augmented:
        """Returns the predictions, as vectors and for the loss."""
        del dropout
        vectors = [
            field(field_tokens(tokens, name), None)
            for name, field in zip(self._features, self._fields, strict=True)
        ]
        fields = tf.stop_gradient(tf.concat(vectors, axis=1))
        hidden = tf.nn.relu(tf.matmul(fields, self._hidden) + self._hidden_bias)
        predicted = bodies.l2_normalise(tf.matmul(hidden, self._kernel))
        return Augmented(predicted, predicted)


class HitTower(DatTower):
    """A DAT tower with a generator, whose vector may consist of several heads."""

    num_heads = 1

    def normalise(self, vectors: tf.Tensor) -> tf.Tensor:
        """Gives every head the same norm, and the whole the norm 1."""
        heads = tf.reshape(vectors, [-1, self.num_heads, self.embedding_dim // self.num_heads])
        unit = tf.math.l2_normalize(heads, axis=2) * self.num_heads**-0.5
        return tf.reshape(unit, [-1, self.embedding_dim])


def hit_towers(plain: Towers, config: FieldsConfig, *, seed: int, num_heads: int = 1) -> Towers:
    """Towers with the fields of plain ones and a generator each.

    Args:
        plain: towers of `config`.
        config: sizes.
        seed: of the further weights.
        num_heads: of both vectors; divides their dimension.
    """
    maker = seeded.WeightMaker(seed)

    def with_generator(tower: Tower) -> HitTower:
        assert isinstance(tower, PlainTower)
        side = tower.name
        generator = GeneratedAugmentation(
            tower, maker.under(f"{side}.generator"), config.embedding_dim
        )
        made = HitTower(tower.inputs, tower.fields, config, maker.under(side), side, generator)
        made.num_heads = num_heads
        return made

    return Towers(with_generator(plain.query), with_generator(plain.candidate))


class HitJob(RetrievalJob):
    """Trains towers with generators as others are trained, mimic terms included."""

    num_heads = 1

    def build(self) -> Towers:
        """See `Job.build`."""
        return hit_towers(
            super().build(), self.model_config, seed=self.seed, num_heads=self.num_heads
        )

    def terms(self, retrieval: RetrievalTask) -> list[Term]:
        """See `Job.terms`."""
        weights = MimicConfig()
        return [
            *super().terms(retrieval),
            MimicTerm("query", weights.query_weight),
            MimicTerm("candidate", weights.candidate_weight),
        ]


class HitHeadsJob(HitJob):
    """The same with several heads."""

    num_heads = NUM_HEADS


def systems_of(spec: FeatureSpec) -> dict[str, tuple[Job, dict[str, str]]]:
    """Jobs by the name of their towers, and their settings of `model`; DAT needs ids."""
    systems: dict[str, tuple[Job, dict[str, str]]] = {"plain": (RetrievalJob, {})}
    if spec.candidate_id_feature is not None:
        systems["dat"] = (RetrievalJob, {"kind": "dat"})
    return {**systems, "hit": (HitJob, {}), f"hit, {NUM_HEADS} heads": (HitHeadsJob, {})}


def measure(
    config: RunConfig, spec: FeatureSpec, preprocessed: Path, job: Job, model: Mapping[str, str]
) -> dict[str, float]:
    """Trains towers, and returns their validation metrics."""
    shared = config.model.model_dump(exclude_unset=True, exclude={"kind"}) | {"wide": None}
    stopping = config.training.early_stopping
    assert stopping is not None
    training = config.training.model_copy(
        update={
            "refit": False,
            "early_stopping": stopping.model_copy(update={"further_metrics": METRICS}),
        }
    )
    towers = RunConfig.model_validate(
        {"name": config.name, "spec": config.spec, "model": {**shared, **model}}
    ).model
    assets = load_assets(preprocessed)
    with tempfile.TemporaryDirectory() as directory:
        result = job(
            spec,
            towers,
            training,
            open_training_data(preprocessed, spec, training, assets),
            assets,
            seed=config.seed,
            refit=False,
            output_dir=Path(directory),
            report=ignore_report,
            checkpoint_root=Path(),
        ).run()
    return {metric: result.validation[metric] for metric in METRICS}


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Markdown of the means over seeds, and the standard deviations if there are several."""
    lines = [f"| towers | {' | '.join(METRICS)} |", f"| --- {'| ---: ' * len(METRICS)}|"]
    for name, seeds in found.items():
        cells = []
        for metric in METRICS:
            values = [seed[metric] for seed in seeds]
            deviation = f" ({np.std(values, ddof=1):.4f})" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.4f}{deviation}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains every kind of towers with every seed, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, help="run config")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--preprocessed", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1, metavar="N")
    options = parser.parse_args(arguments)
    config = load_run_config(options.config, tuple(options.settings))
    spec = load_spec(spec_path(config, options.config))
    found: dict[str, list[Any]] = {}
    for name, (job, model) in systems_of(spec).items():
        found[name] = [
            measure(
                config.model_copy(update={"seed": seed}), spec, options.preprocessed, job, model
            )
            for seed in range(options.seeds)
        ]
    sys.stdout.write(f"{config.name}, {options.seeds} seeds\n\n{table(found)}\n")


if __name__ == "__main__":
    main()
