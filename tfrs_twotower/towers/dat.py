"""Dual augmented towers (DAT: Yu, Wang, Feng, Xue, DLP-KDD 2021)."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfrs_twotower.config import AugmentedConfig, DatConfig
from tfrs_twotower.features import lookup, tower_inputs
from tfrs_twotower.layers import (
    bodies,
    candidate_memory,
    embedding_tables,
    field_encoders,
    seeded,
)
from tfrs_twotower.specs import NUM_SPECIAL_ROWS, IdFeature
from tfrs_twotower.towers import augmentation_plan, plain
from tfrs_twotower.towers.augmentation import (
    Augmentation,
    HistoryAugmentation,
    LearnedAugmentation,
    RandomAugmentation,
)
from tfrs_twotower.towers.tower import TowerOutput


class DatTower(plain.PlainTower):
    """A plain tower whose sum has one more summand, `a W`, where a is the augmented vector.

    The paper feeds z = [e_1 | ... | e_n | a] to a fully connected stack; W is the block of its
    first layer that multiplies a. With a = 0 the tower equals the plain one, bit for bit.

    The vector a represents the other tower's embeddings of this side's positives: candidate
    embeddings for a query, query embeddings for a candidate. See `losses.mimic` and
    `Augmentation`.
    """

    def __init__(
        self,
        inputs: tower_inputs.TowerInputs,
        fields: Sequence[field_encoders.FieldEncoder],
        config: DatConfig,
        weights: seeded.WeightMaker,
        name: str,
        augmentation: Augmentation,
        body: bodies.ResidualBody | None = None,
    ) -> None:
        """Builds a plain tower that adds the vectors of `augmentation`."""
        super().__init__(inputs, fields, config, weights, name, body)
        self.augmentation: Augmentation = augmentation
        self.has_augmented = augmentation.learned
        # The identity, because a is in the space of this tower's output. With a random start, a
        # substitute (the mean of a history for a learned vector) did not help on the planted set.
        self._kernel = weights.identity("augmentation.kernel", config.embedding_dim)
        # A source of its own, so that the fields get the same dropout masks as in a plain tower.
        self._augmentation_dropout = seeded.TrainingDropout(weights.seed, f"{name}.augmentation")

    def encode(self, tokens: tower_inputs.Tokens, training: bool = False) -> TowerOutput:
        """Returns the embedding, and the augmented vectors that the mimic loss trains."""
        augmented = self.augmentation(tokens, self._augmentation_dropout if training else None)
        vectors, slots = self._sum_of_fields(tokens, training)
        vectors += tf.matmul(augmented.vectors, self._kernel)
        embedding = self._finish(vectors, training)
        return TowerOutput(embedding, augmented=augmented.trained, slots=slots)


def build_augmentation(
    plan: augmentation_plan.AugmentationPlan,
    config: AugmentedConfig,
    weights: seeded.WeightMaker,
    lookups: Mapping[str, lookup.Lookup],
    candidate_id: IdFeature | None,
) -> Augmentation | None:
    """Builds the source of augmented vectors that the plan of one side names.

    Args:
        plan: plan of the side.
        config: the towers' section of the run config.
        weights: makes the weights of the side's augmentation.
        lookups: lookups of ids and segments, by vocabulary name.
        candidate_id: the feature that histories consist of; a spec with a history has it.

    Returns:
        None for a side that is not augmented.
    """
    dim = config.embedding_dim
    memory = None
    if plan.history is not None and candidate_id is not None:
        num_rows = lookups[candidate_id.vocabulary_name].num_rows
        memory = candidate_memory.CandidateMemory(
            weights, candidate_id.name, num_rows, dim, longest=config.history_length
        )
    if plan.id_feature is not None:
        return _learned(plan, plan.id_feature, config, weights, lookups, memory)
    if plan.history is not None and memory is not None:
        return HistoryAugmentation(plan.history.name, memory)
    return RandomAugmentation(weights, dim) if plan.mode == "random" else None


def _learned(
    plan: augmentation_plan.AugmentationPlan,
    id_feature: IdFeature,
    config: AugmentedConfig,
    weights: seeded.WeightMaker,
    lookups: Mapping[str, lookup.Lookup],
    memory: candidate_memory.CandidateMemory | None,
) -> LearnedAugmentation:
    num_rows = lookups[id_feature.vocabulary_name].num_rows
    table = weights.normal(
        "rows",
        [num_rows, config.embedding_dim],
        embedding_tables.MAIN_STDDEV,
        zero_rows=NUM_SPECIAL_ROWS,
    )
    segments = None
    if plan.segment is not None:
        segments = candidate_memory.SegmentMeans(
            weights,
            table,
            id_feature=id_feature.name,
            segment_feature=plan.segment.name,
            num_segments=lookups[plan.segment.vocabulary_name].num_rows,
        )
    return LearnedAugmentation(
        table,
        id_feature.name,
        id_dropout=config.augmentation_dropout,
        history=plan.history.name if plan.history else None,
        memory=memory,
        segments=segments,
    )
