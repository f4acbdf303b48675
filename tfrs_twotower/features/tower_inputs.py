"""The first phase of a tower: from raw values, with all strings, to tokens; it has no weights."""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf
from typing_extensions import assert_never

from tfrs_twotower import specs
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.raw_inputs import RawBatch, raw_signature
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.features import lookup, numbers, wordpiece

Tokens = dict[str, tf.Tensor]
Tokeniser = Callable[[tf.Tensor], tf.Tensor]


class TowerInputs(tf.Module):
    """Maps the raw features of one side to tokens, identically offline and at the server.

    kind               token
    id, categorical    int32 `[batch]`: row of a table
    multi_categorical  int32 `[batch, max_values]`: rows, 0 is padding
    history            int32 `[batch, max_length]`: rows of the candidate ids, 0 is padding
    text               int32 `[batch, max_tokens]`: WordPiece ids, 0 is padding
    timestamp          int32 `[batch, num_parts]`: parts from 1, 0 is missing
    numeric            float32 `[batch, 2]`: scaled value, missing indicator;
                       bucketise: int32 `[batch]`: bucket from 1, 0 is missing
    """

    def __init__(
        self,
        side: str,
        features: Sequence[specs.Feature],
        assets: Assets,
        lookups: Mapping[str, lookup.Lookup],
        word_pieces: Mapping[str, wordpiece.WordPiece],
        history_lookup: lookup.Lookup | None,
    ) -> None:
        """Builds the tokenisers.

        Args:
            side: `query` or `candidate`, under which the statistics are stored.
            features: the side's features.
            assets: statistics of the numeric features.
            lookups: lookups by vocabulary name, shared with the other side.
            word_pieces: tokenisers by vocabulary name, shared with the other side.
            history_lookup: the lookup of candidate ids, for histories.
        """
        super().__init__(name=f"{side}_inputs")
        self.features = tuple(features)
        self._lookups = dict(lookups)
        self._word_pieces = dict(word_pieces)
        self._history_lookup = history_lookup
        self._numbers = {
            feature.name: (
                numbers.Bucket if feature.transform == "bucketise" else numbers.ScaledNumber
            )(feature, assets.numeric(f"{side}.{feature.name}"))
            for feature in features
            if isinstance(feature, specs.NumericFeature)
        }

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Names, shapes and types of the raw inputs."""
        return raw_signature(self.features)

    def __call__(self, raw: RawBatch) -> Tokens:
        """Returns the tokens of a raw batch; inputs that are not features of the side are ignored.

        Raises:
            FeatureSpecError: a feature is missing in the batch.
        """
        absent = [feature.name for feature in self.features if feature.name not in raw]
        if absent:
            raise FeatureSpecError(
                f"{self.name}: the batch lacks {', '.join(absent)}; found "
                f"{', '.join(sorted(raw))}. Give every feature of the spec."
            )
        return {
            feature.name: self.tokenise(feature, tf.convert_to_tensor(raw[feature.name]))
            for feature in self.features
        }

    def num_rows(self, feature: specs.NumericFeature) -> int:
        """Returns the number of rows that a bucketised number needs."""
        return int(self._numbers[feature.name].num_rows)

    def pieces(self, feature: specs.TextFeature) -> list[str]:
        """Returns the WordPieces of a text feature: the piece of each token."""
        return self._word_pieces[feature.vocabulary_name].pieces

    @tf.autograph.experimental.do_not_convert  # AutoGraph cannot read class patterns
    def tokenise(self, feature: specs.Feature, values: tf.Tensor) -> tf.Tensor:
        """Returns the tokens of the raw values `[batch, ...]` of one feature."""
        match feature:
            case specs.IdFeature() | specs.CategoricalFeature():
                return self._lookups[feature.vocabulary_name](values)
            case specs.MultiCategoricalFeature():
                return self._lookups[feature.vocabulary_name](values[:, : feature.max_values])
            case specs.HistoryFeature():
                if self._history_lookup is None:
                    raise ValueError(f"{self.name}: the history '{feature.name}' has no lookup")
                return self._history_lookup(values[:, : feature.max_length])
            case specs.TextFeature():
                return self._word_pieces[feature.vocabulary_name](
                    values, feature.max_tokens, mark_ends=feature.encoder == "pretrained"
                )
            case specs.NumericFeature():
                return self._numbers[feature.name](tf.cast(values, tf.float32))
            case specs.TimestampFeature():
                seconds = tf.cast(values, tf.int64)
                return tf.stack(
                    [numbers.calendar_part(seconds, part) for part in feature.parts], axis=1
                )
            case _:
                assert_never(feature)
