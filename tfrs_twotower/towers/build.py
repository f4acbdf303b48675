"""Builds the towers that a model config asks for."""

from collections.abc import Mapping
from pathlib import Path

from typing_extensions import assert_never

from tfrs_twotower.config import (
    AugmentedConfig,
    ColbertConfig,
    ColdConfig,
    DatConfig,
    IntTowerConfig,
    ModelConfig,
    MolConfig,
    PlainTowerConfig,
)
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.documents import user_path
from tfrs_twotower.errors import ConfigError, FeatureSpecError
from tfrs_twotower.features import lookup, tower_inputs, wordpiece
from tfrs_twotower.features.wordpiece_list import read_wordpieces
from tfrs_twotower.layers import bert, seeded
from tfrs_twotower.layers.candidate_memory import CandidateContent
from tfrs_twotower.layers.checkpoint import read_shape
from tfrs_twotower.layers.embedding_tables import TableSet
from tfrs_twotower.specs import FeatureDeclarations, TextFeature
from tfrs_twotower.specs.features import CHECKPOINT_VOCABULARY
from tfrs_twotower.towers import (
    augmentation_plan,
    colbert,
    cold,
    dat,
    inttower,
    mol,
    plain,
    texts,
    tower,
)
from tfrs_twotower.towers.fields import FieldBuilder, build_content, table_shapes


def build_towers(
    spec: FeatureDeclarations,
    model_config: ModelConfig,
    assets: Assets,
    *,
    seed: int,
    checkpoint_root: Path = Path(),
    pretrained_shapes: Mapping[str, bert.BertShape] | None = None,
) -> tower.Towers:
    """Builds a query tower and a candidate tower with fresh weights.

    Every weight depends on the seed and its own name only.

    Args:
        spec: the features of both sides: a feature spec, or `TowerFeatures` alone.
        model_config: which towers, and their sizes.
        assets: vocabularies and statistics; `learn_assets` takes them from a sample.
        seed: of the initial weights and of everything that training hides.
        checkpoint_root: where relative `checkpoint` directories of the spec start.
        pretrained_shapes: builds pretrained encoders of these shapes, by `checkpoint`, with
            weights that are to be loaded over; by default they are read from the checkpoints.

    Raises:
        MissingArtifact: the assets lack a vocabulary or statistics that the spec needs.
        FeatureSpecError: a checkpoint cannot be used.
        ConfigError: the model config does not fit together.
    """
    weights = seeded.WeightMaker(seed)
    lookups = lookup.build_lookups(spec, assets)
    pieces = word_pieces(spec, assets, checkpoint_root)
    shapes = table_shapes(spec, lookups, pieces)
    tables = TableSet(weights.under("tables"), shapes, model_config.embedding_dim)
    builders = texts.text_builders(
        spec, model_config, weights, tables, shapes, checkpoint_root, pretrained_shapes
    )
    body = texts.shared_body(model_config, weights)
    shared_map = texts.shared_token_map(model_config, weights)
    buckets = colbert.buckets_of(model_config, weights.under("muvera"))
    id_feature = spec.candidate_id_feature
    history_vocabulary = id_feature.vocabulary_name if id_feature else None

    def build(side: str, content: CandidateContent | None = None) -> tower.Tower:
        features = getattr(spec, side).features
        history_lookup = lookups[history_vocabulary] if history_vocabulary else None
        inputs = tower_inputs.TowerInputs(side, features, assets, lookups, pieces, history_lookup)
        fields = FieldBuilder(
            side,
            weights.under(side),
            model_config,
            inputs,
            tables,
            builders[side],
            history_vocabulary,
            content=content,
        )
        encoders = [fields.build(feature) for feature in features]
        augmentation = None
        if isinstance(model_config, AugmentedConfig):
            augmentation = dat.build_augmentation(
                augmentation_plan.plan_augmentation(spec, model_config)[side],
                model_config,
                weights.under(f"{side}.augmentation"),
                lookups,
                id_feature,
            )
        match model_config:
            case DatConfig() if augmentation is not None:
                return dat.DatTower(
                    inputs, encoders, model_config, weights.under(side), side, augmentation, body
                )
            case PlainTowerConfig() | DatConfig():
                return plain.PlainTower(
                    inputs, encoders, model_config, weights.under(side), side, body
                )
            case IntTowerConfig():
                num_views = model_config.candidate_views if side == "candidate" else 1
                return inttower.IntTower(
                    inputs,
                    encoders,
                    model_config,
                    weights.under(side),
                    side,
                    more_views=[fields.build_view(n, encoders) for n in range(1, num_views)],
                    cosine_heads=model_config.cosine_heads,
                    body=body,
                    augmentation=augmentation,
                )
            case ColdConfig():
                return inttower.IntTower(
                    inputs,
                    encoders,
                    model_config,
                    weights.under(side),
                    side,
                    cosine_heads=True,
                    body=body,
                )
            case MolConfig():
                return mol.MolTower(inputs, encoders, model_config, weights.under(side), side, body)
            case ColbertConfig():
                return colbert.ColbertTower(
                    inputs,
                    encoders,
                    model_config,
                    weights.under(side),
                    side,
                    buckets,
                    body=body,
                    token_map=shared_map,
                )
            case _:
                assert_never(model_config)

    candidate = build("candidate")
    content = None
    if model_config.history_content != "none" and spec.histories and id_feature:
        content = build_content(
            weights.under("query.content"),
            candidate,
            id_feature,
            lookups[id_feature.vocabulary_name].num_rows,
            model_config.embedding_dim,
            stop_gradient=model_config.history_content == "fixed",
        )
    query = build("query", content)
    pretrained = {**builders["query"].pretrained, **builders["candidate"].pretrained}
    return _joined(model_config, query, candidate, pretrained, weights.under("scorer"))


def _joined(
    model_config: ModelConfig,
    query: tower.Tower,
    candidate: tower.Tower,
    pretrained: Mapping[str, bert.BertEncoder],
    weights: seeded.WeightMaker,
) -> tower.Towers:
    """Both towers with what a pair of this kind has beside them; `weights` makes its scorer."""
    match model_config:
        case IntTowerConfig() | ColbertConfig():
            scorer = tower.PairScorer(weights)
            return inttower.IntTowers(query, candidate, pretrained, scorer)
        case MolConfig():
            scorer = mol.MolScorer(weights, model_config)
            return inttower.IntTowers(query, candidate, pretrained, scorer)
        case ColdConfig():
            scorer = cold.ColdScorer(weights, model_config)
            return inttower.IntTowers(query, candidate, pretrained, scorer)
        case _:
            return tower.Towers(query, candidate, pretrained)


def word_pieces(
    spec: FeatureDeclarations, assets: Assets, root: Path
) -> dict[str, wordpiece.WordPiece]:
    """The tokenisers of the text features, by vocabulary.

    A checkpoint's own vocabulary, relative to `root`, is added to the assets where they lack it.
    """
    pieces: dict[str, wordpiece.WordPiece] = {}
    for feature in (*spec.query.features, *spec.candidate.features):
        if isinstance(feature, TextFeature) and feature.vocabulary_name not in pieces:
            name = feature.vocabulary_name
            if feature.checkpoint is not None and name not in assets.vocabularies:
                path = user_path(f"{feature.checkpoint}/{CHECKPOINT_VOCABULARY}", root)
                assets.vocabularies[name] = read_wordpieces(path)
            pieces[name] = wordpiece.WordPiece(
                assets.vocabulary(name),
                name,
                lower_case=feature.lower_case,
                keep_accents=feature.keep_accents,
            )
    return pieces


def check_checkpoints(
    spec: FeatureDeclarations, root: Path, *, zero_shot_dim: int | None = None
) -> None:
    """Checks the files of every pretrained encoder, without reading its weights.

    Args:
        spec: the features of both sides.
        root: where relative `checkpoint` directories start.
        zero_shot_dim: the dimension of towers that will not be trained, which must be that of the
            encoders: nothing would train a projection.

    Raises:
        FeatureSpecError: a file cannot be read, does not fit the others, or the encoder does not
            fit the feature.
        ConfigError: the dimension is another.
    """
    for feature in (*spec.query.features, *spec.candidate.features):
        if not isinstance(feature, TextFeature) or feature.checkpoint is None:
            continue
        directory = user_path(feature.checkpoint, root)
        shape = read_shape(directory)
        texts.check_length(feature, shape)
        pieces = read_wordpieces(user_path(feature.given_vocabulary or "", root))
        wordpiece.WordPiece(pieces, feature.vocabulary_name, lower_case=feature.lower_case)
        if len(pieces) > shape.num_pieces:
            raise FeatureSpecError(
                f"the text '{feature.name}': its vocabulary has {len(pieces):,} pieces, the "
                f"encoder in {directory} {shape.num_pieces:,}. Use the checkpoint's own "
                f"{CHECKPOINT_VOCABULARY}: leave vocabulary_file out."
            )
        if zero_shot_dim not in (None, shape.hidden_dim):
            raise ConfigError(
                f"model.embedding_dim is {zero_shot_dim}, but training.epochs is 0 and the encoder "
                f"in {directory} has {shape.hidden_dim} dimensions: nothing would train the "
                f"projection between them. Set model.embedding_dim: {shape.hidden_dim}."
            )
