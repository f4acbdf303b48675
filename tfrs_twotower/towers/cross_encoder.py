"""Cross-encoders of a feature spec: the pieces of both sides' texts, the models, and their files.

cross_encoder/
    settings.json           config, and the shape of a pretrained encoder
    weights-0.npz weights-1.npz    one model for each half of the training queries
    vocabularies/  statistics.json
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from pydantic import ValidationError

from tfrs_twotower.config import CrossEncoderConfig
from tfrs_twotower.data.assets import Assets, load_assets, write_assets
from tfrs_twotower.documents import user_path
from tfrs_twotower.errors import ConfigError, CorruptArtifact, MissingArtifact
from tfrs_twotower.features.wordpiece import END_PIECE, START_PIECE
from tfrs_twotower.layers.bert import BertShape
from tfrs_twotower.layers.checkpoint import read_bert, read_shape
from tfrs_twotower.layers.seeded import WeightMaker
from tfrs_twotower.layers.text_pairs import CrossEncoder, PretrainedPairs, SmallEncoder
from tfrs_twotower.specs import FeatureDeclarations, TextFeature
from tfrs_twotower.towers import build, storage
from tfrs_twotower.towers.first_weights import inverse_document_frequency

SETTINGS = "settings.json"
_WEIGHTS = "weights-{number}.npz"
_NUM_MARKS = 3
_TOKENISED_AT_ONCE = 1 << 14
_PAIRS_AT_ONCE = 512
_REPLACED = 0

PieceArray = npt.NDArray[np.int32]


class PairTexts:
    """Makes rows of pieces of either side's texts.

    One numbering covers the vocabularies of all texts, so that a word has one number on both sides.
    The texts of a side follow each other; padding is at the end, and marks are left out.

    Attributes:
        vocabularies: the pieces of each vocabulary.
        num_pieces: number of pieces of all of them, with the two marks.
        start: number of [CLS].
        end: number of [SEP].
    """

    def __init__(
        self,
        spec: FeatureDeclarations,
        assets: Assets,
        config: CrossEncoderConfig,
        checkpoint_root: Path = Path(),
    ) -> None:
        """Builds the tokenisers of the text features.

        Args:
            spec: the features of both sides.
            assets: the vocabularies of the texts.
            config: how many pieces of a side are read.
            checkpoint_root: where relative `checkpoint` directories start.
        """
        self._word_pieces = build.word_pieces(spec, assets, checkpoint_root)
        self.vocabularies = {name: own.pieces for name, own in self._word_pieces.items()}
        self._features = {
            "query": _texts(spec.query.features),
            "candidate": _texts(spec.candidate.features),
        }
        self._most = {"query": config.max_query_tokens, "candidate": config.max_candidate_tokens}
        numbers: dict[str, int] = {}
        self._numbers_of: dict[str, PieceArray] = {}
        for name, pieces in self.vocabularies.items():
            own = [numbers.setdefault(piece, len(numbers)) for piece in pieces]
            self._numbers_of[name] = np.array(own, np.int32)
        self.start = numbers.setdefault(START_PIECE, len(numbers))
        self.end = numbers.setdefault(END_PIECE, len(numbers))
        self.num_pieces = len(numbers)
        for rows in self._numbers_of.values():
            rows[np.isin(rows, (self.start, self.end))] = 0

    def read(self, side: str, raw: Mapping[str, npt.NDArray[Any]]) -> PieceArray:
        """Pieces `[n, width]` of raw features, `[n]` bytes each."""
        size = len(next(iter(raw.values())))
        parts = [
            self.joined(
                side,
                {
                    feature.name: self._word_pieces[feature.vocabulary_name](
                        tf.constant(raw[feature.name][start : start + _TOKENISED_AT_ONCE]),
                        feature.max_tokens,
                        mark_ends=feature.encoder == "pretrained",
                    ).numpy()
                    for feature in self._features[side]
                },
            )
            for start in range(0, size, _TOKENISED_AT_ONCE)
        ]
        return np.concatenate(parts)

    def joined(self, side: str, tokens: Mapping[str, npt.NDArray[Any]]) -> PieceArray:
        """Pieces `[n, width]` of the tokens `[n, max_tokens]` of each text, by feature."""
        pieces = np.concatenate(
            [
                self._numbers_of[feature.vocabulary_name][tokens[feature.name]]
                for feature in self._features[side]
            ],
            axis=1,
        )
        order = np.argsort(pieces == 0, axis=1, kind="stable")[:, : self._most[side]]
        return np.take_along_axis(pieces, order, axis=1)


def build_cross_encoder(
    texts: PairTexts,
    config: CrossEncoderConfig,
    weights: WeightMaker,
    candidates: PieceArray | None,
    shape: BertShape | None = None,
) -> CrossEncoder:
    """Builds a cross-encoder with fresh weights.

    Args:
        texts: gives its pieces.
        config: its sizes.
        weights: makes its weights.
        candidates: pieces of all candidates, whose frequencies say how rare a piece is; None if the
            weights are to be loaded over.
        shape: of a pretrained encoder, whose weights are to be loaded over; None builds a small
            one.
    """
    if shape is not None:
        encoder: SmallEncoder | PretrainedPairs = PretrainedPairs(weights.under("bert"), shape)
    else:
        encoder = SmallEncoder(weights.under("encoder"), texts.num_pieces, config)
        if candidates is not None:
            rarity = inverse_document_frequency([candidates], texts.num_pieces)
            encoder.set_rarity(rarity / rarity.max())
    return CrossEncoder(weights, encoder, start=texts.start, end=texts.end)


def pretrained_of(
    spec: FeatureDeclarations, config: CrossEncoderConfig, checkpoint_root: Path
) -> tuple[BertShape, Mapping[str, npt.NDArray[np.float32]]] | None:
    """Shape and tensors of the checkpoint that the config starts from; None for a small encoder.

    Raises:
        FeatureSpecError: the checkpoint cannot be read.
        ConfigError: it has too few positions.
    """
    if config.encoder != "pretrained":
        return None
    directory = _checkpoint(spec, checkpoint_root)
    _check_positions(config, read_shape(directory), directory)
    return read_bert(directory)


def check_checkpoint(
    spec: FeatureDeclarations, config: CrossEncoderConfig, checkpoint_root: Path
) -> None:
    """Checks that the checkpoint takes pairs as long as the config has them; reads no weight.

    Raises:
        FeatureSpecError, ConfigError: see `pretrained_of`.
    """
    if config.encoder == "pretrained":
        directory = _checkpoint(spec, checkpoint_root)
        _check_positions(config, read_shape(directory), directory)


def _checkpoint(spec: FeatureDeclarations, root: Path) -> Path:
    (checkpoint,) = {
        feature.checkpoint or ""
        for feature in (*_texts(spec.query.features), *_texts(spec.candidate.features))
    }
    return user_path(checkpoint, root)


def _check_positions(config: CrossEncoderConfig, shape: BertShape, directory: Path) -> None:
    longest = config.max_query_tokens + config.max_candidate_tokens + _NUM_MARKS
    if longest > shape.num_positions:
        raise ConfigError(
            f"pre_ranking.mining.cross_encoder: max_query_tokens {config.max_query_tokens} and "
            f"max_candidate_tokens {config.max_candidate_tokens} make {longest} places with the "
            f"{_NUM_MARKS} marks, and the encoder in {directory} has {shape.num_positions}. Lower "
            "one of them."
        )


class PairScores:
    """Scores pairs with a cross-encoder, in bounded memory."""

    def __init__(self, model: CrossEncoder) -> None:
        """Compiles the model."""
        pieces = tf.TensorSpec([None, None], tf.int32)
        self._score: Callable[..., tf.Tensor] = tf.function(
            lambda queries, candidates: model(queries, candidates),
            input_signature=[pieces, pieces],
            autograph=False,
        )

    def lists(
        self, queries: PieceArray, rows: npt.NDArray[np.integer], candidates: PieceArray
    ) -> npt.NDArray[np.float32]:
        """Scores listed candidates.

        Args:
            queries: `[batch, query_width]` pieces.
            rows: `[batch, n]` rows of the corpus; -1 for a missing candidate.
            candidates: `[num_candidates, candidate_width]` pieces of the corpus.

        Returns:
            `[batch, n]`, 0 for a missing candidate.
        """
        scores = np.zeros(rows.shape, np.float32)
        owners, places = np.nonzero(rows >= 0)
        for start in range(0, len(owners), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            owner, place = owners[part], places[part]
            scored = self._score(
                tf.constant(queries[owner]), tf.constant(candidates[rows[owner, place]])
            )
            scores[owner, place] = scored.numpy()
        return scores


def save_cross_encoders(
    models: Sequence[CrossEncoder],
    texts: PairTexts,
    config: CrossEncoderConfig,
    shape: BertShape | None,
    directory: Path,
) -> None:
    """Writes models of one form for `load_cross_encoders`, over those that may be there."""
    directory.mkdir(exist_ok=True)
    settings = {
        "schema": 1,
        "config": config.model_dump(mode="json"),
        "pretrained": None if shape is None else asdict(shape),
    }
    text = json.dumps(settings, indent=2, sort_keys=True)
    (directory / SETTINGS).write_text(text + "\n", encoding="utf-8")
    write_assets(Assets(texts.vocabularies), directory)
    for number, model in enumerate(models):
        path = directory / _WEIGHTS.format(number=number)
        storage.write_weights(model.named_variables(), path)


def load_cross_encoders(
    directory: Path, spec: FeatureDeclarations
) -> tuple[PairTexts, list[CrossEncoder]]:
    """Reads the models, and what makes their pieces.

    Raises:
        MissingArtifact: a file is missing.
        CorruptArtifact: a file cannot be read, or the weights do not fit the settings.
    """
    path = directory / SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        config = CrossEncoderConfig.model_validate(settings["config"])
        shape = None if settings["pretrained"] is None else BertShape(**settings["pretrained"])
    except FileNotFoundError:
        raise MissingArtifact(f"{path}: is missing; run `twotower mine` again.") from None
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as cause:
        raise CorruptArtifact(
            f"{path}: cannot be read: {cause}. Run `twotower mine` again."
        ) from cause
    texts = PairTexts(spec, load_assets(directory), config)
    models = []
    for path in sorted(directory.glob(_WEIGHTS.format(number="*"))):
        model = build_cross_encoder(texts, config, WeightMaker(_REPLACED), None, shape)
        storage.assign_weights(model, storage.read_weights(path), str(path))
        models.append(model)
    if not models:
        raise MissingArtifact(f"{directory}: has no weights; run `twotower mine` again.")
    return texts, models


def _texts(features: Sequence[object]) -> list[TextFeature]:
    return [feature for feature in features if isinstance(feature, TextFeature)]
