"""Matryoshka vectors, served narrower than they were trained (Kusupati et al., NeurIPS 2022)."""

import tensorflow as tf

from tfrs_twotower.features.tower_inputs import Tokens
from tfrs_twotower.layers import bert, bodies
from tfrs_twotower.towers.tower import Tower, TowerOutput, Towers


class NarrowTower(Tower):
    """A tower whose embedding is the first entries of another's, L2-normalised again."""

    def __init__(self, whole: Tower, width: int) -> None:
        """Narrows a tower to `width` entries; its other outputs are kept."""
        super().__init__(name=whole.name)
        self.whole = whole
        self.inputs = whole.inputs
        self.embedding_dim = width

    def encode_fields(self, tokens: Tokens, training: bool = False) -> tf.Tensor:
        """Those of the whole tower."""
        return self.whole.encode_fields(tokens, training)

    def encode(self, tokens: Tokens, training: bool = False) -> TowerOutput:
        """The whole tower's output with the narrower embedding."""
        output = self.whole.encode(tokens, training)
        return output._replace(embedding=narrowed(output.embedding, self.embedding_dim))


class NarrowTowers(Towers):
    """Two towers whose embeddings are narrowed. They are served, not trained or saved."""

    def __init__(self, whole: Towers, width: int) -> None:
        """Narrows both towers; their embeddings have more than `width` entries."""
        super().__init__(NarrowTower(whole.query, width), NarrowTower(whole.candidate, width))
        self.whole = whole

    @property
    def pretrained_shapes(self) -> dict[str, bert.BertShape]:
        """Those of the whole towers."""
        return self.whole.pretrained_shapes


def narrowed(embeddings: tf.Tensor, width: int) -> tf.Tensor:
    """The first `width` entries of each row, L2-normalised."""
    return bodies.l2_normalise(embeddings[..., :width])
