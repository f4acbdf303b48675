"""What is compared: the towers of the project, each with a pair score and a loss."""

from typing import NamedTuple

import tensorflow as tf

from tests.benchmarks.paper_protocol.pairs import SPEC, PairData, Pairs
from tfrs_twotower.config import DatConfig, IntTowerConfig, ModelConfig, PlainTowerConfig
from tfrs_twotower.losses.list_losses import binary_cross_entropy, contrastive_interaction, mimic
from tfrs_twotower.losses.negative_columns import KnownPositives, accidental_hits
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.tower import TowerOutput

MIMIC_WEIGHT = 0.5
CIR_WEIGHT = 0.05
CIR_TEMPERATURE = 0.1

_FIELDS = {"embedding_dim": 32, "dropout": 0.1}
_PLAIN = PlainTowerConfig.model_validate(_FIELDS)
_DAT = DatConfig.model_validate({"kind": "dat", **_FIELDS})
_RANDOM_DAT = _DAT.model_copy(
    update={"query_augmentation": "random", "candidate_augmentation": "random"}
)
_INTTOWER = IntTowerConfig.model_validate(
    {
        "kind": "inttower",
        **_FIELDS,
        "body": "dense",
        "hidden_dims": (128, 64),
        "activation": "relu",
        "num_query_heads": 4,
        "num_candidate_heads": 4,
        "head_dim": 64,
    }
)


class Variant(NamedTuple):
    """One line of the table."""

    config: ModelConfig
    learned_scale: bool = False
    """Whether a cosine is multiplied by a learned number; else by 1, as in the paper's table."""
    cir_weight: float = 0.0


BASELINE = "two-tower"
VARIANTS = {
    BASELINE: Variant(_PLAIN),
    "two-tower, learned scale": Variant(_PLAIN, learned_scale=True),
    "DAT": Variant(_DAT),
    "DAT, random vectors": Variant(_RANDOM_DAT),
    "IntTower": Variant(_INTTOWER),
    "IntTower + CIR": Variant(_INTTOWER, cir_weight=CIR_WEIGHT),
}


class PairModel(tf.Module):
    """Two towers, and `exp(a) cosine + b` or the FE score on top of them."""

    def __init__(self, variant: Variant, data: PairData, seed: int) -> None:
        super().__init__(name="pair_model")
        self._variant = variant
        self.towers = build_towers(SPEC, variant.config, data.assets, seed=seed)
        self._log_scale = tf.Variable(0.0, trainable=variant.learned_scale, name="log_scale")
        self._bias = tf.Variable(0.0, name="bias")
        self._known: KnownPositives | None = None
        if variant.cir_weight:
            liked = data.fit.labels.numpy() > 0
            users, items = data.fit.users.numpy(), data.fit.items.numpy()
            self._known = KnownPositives(
                users[liked],
                items[liked],
                num_queries=int(users.max()) + 1,
                num_candidates=int(items.max()) + 1,
            )

    def logits(self, pairs: Pairs) -> tf.Tensor:
        """`[batch]`, of a model at rest."""
        query = self.towers.query.encode(pairs.query)
        return self._logits(query, self.towers.candidate.encode(pairs.candidate))

    def loss(self, pairs: Pairs) -> tf.Tensor:
        """Mean cross entropy of a training batch, and what the variant adds to it."""
        query = self.towers.query.encode(pairs.query, training=True)
        candidate = self.towers.candidate.encode(pairs.candidate, training=True)
        logits = self._logits(query, candidate)[:, tf.newaxis]
        loss = tf.reduce_mean(binary_cross_entropy(logits, pairs.labels[:, tf.newaxis]))
        for own, other in ((query, candidate), (candidate, query)):
            if own.augmented is not None:
                distances = mimic(own.augmented, other.embedding, labels=pairs.labels)
                loss += MIMIC_WEIGHT * tf.reduce_mean(distances)
        if self._known is not None:
            loss += self._variant.cir_weight * self._cir(query, candidate, pairs, self._known)
        return loss

    def _logits(self, query: TowerOutput, candidate: TowerOutput) -> tf.Tensor:
        if query.heads is not None:
            return self.towers.scorer(query.heads, candidate.heads[:, tf.newaxis])[:, 0]
        cosines = tf.reduce_sum(query.embedding * candidate.embedding, axis=1)
        return tf.exp(self._log_scale) * cosines + self._bias

    def _cir(
        self, query: TowerOutput, candidate: TowerOutput, pairs: Pairs, known: KnownPositives
    ) -> tf.Tensor:
        hidden = accidental_hits(pairs.items, pairs.items) | known.hits(pairs.users, pairs.items)
        losses = contrastive_interaction(
            query.heads[:, -candidate.heads.shape[1] :],
            candidate.heads,
            temperature=CIR_TEMPERATURE,
            labels=pairs.labels,
            hidden=hidden,
        )
        return tf.math.divide_no_nan(tf.reduce_sum(losses), tf.reduce_sum(pairs.labels))
