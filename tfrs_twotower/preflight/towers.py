"""Does the model section fit the features that the towers are made of?"""

from collections.abc import Iterator

from tfrs_twotower.config import DatConfig, ModelConfig, RunConfig
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.preflight.augmentation import plan_augmentation
from tfrs_twotower.specs import (
    CategoricalFeature,
    FeatureSpec,
    IdFeature,
    MultiCategoricalFeature,
    TextFeature,
)

_LOOKED_UP = (IdFeature, CategoricalFeature, MultiCategoricalFeature)


def check_towers(spec: FeatureSpec, config: RunConfig) -> Iterator[str]:
    """Yields mistakes of the model sections: of the towers, and of the pre-ranker."""
    models: list[tuple[str, ModelConfig]] = [("model", config.model)]
    if config.pre_ranking is not None:
        members = enumerate(config.pre_ranking.models)
        models += [(f"pre_ranking.models.{number}", model) for number, model in members]
    for section, model in models:
        yield from _check_heads(spec, model, section)
        yield from _check_dropouts(spec, model, section)
    yield from _check_augmentation(spec, config)


def _features(spec: FeatureSpec) -> Iterator[tuple[str, object]]:
    for feature in spec.query.features:
        yield f"query.features.{feature.name}", feature
    for feature in spec.candidate.features:
        yield f"candidate.features.{feature.name}", feature


def _check_heads(spec: FeatureSpec, model: ModelConfig, section: str) -> Iterator[str]:
    users = [
        where
        for where, feature in _features(spec)
        if isinstance(feature, TextFeature) and feature.encoder == "transformer"
    ]
    if users and model.embedding_dim % model.transformer.num_heads:
        allowed = [n for n in (1, 2, 4, 8, 16) if model.embedding_dim % n == 0]
        yield (
            f"{section}.transformer.num_heads is {model.transformer.num_heads}, which does not "
            f"divide {section}.embedding_dim {model.embedding_dim} ({users[0]} has encoder: "
            "transformer). "
            f"Set num_heads to one of {', '.join(map(str, allowed))}, or change embedding_dim."
        )


def _check_dropouts(spec: FeatureSpec, model: ModelConfig, section: str) -> Iterator[str]:
    """A dropout of something that is not there is a misunderstanding, not a setting."""
    kinds = [feature for _, feature in _features(spec)]
    needs = (
        ("history_dropout", model.history_dropout, bool(spec.histories), "a history feature"),
        (
            "token_dropout",
            model.token_dropout,
            any(isinstance(feature, TextFeature) for feature in kinds),
            "a text feature",
        ),
        (
            "id_dropout",
            model.id_dropout,
            any(isinstance(feature, _LOOKED_UP) for feature in kinds),
            "an id or categorical feature",
        ),
    )
    for key, value, present, what in needs:
        if value > 0 and not present:
            yield (
                f"{section}.{key} is {value}, but the spec '{spec.name}' has not {what}. "
                f"Remove the key, or add {what} to the spec."
            )


def _check_augmentation(spec: FeatureSpec, config: RunConfig) -> Iterator[str]:
    if isinstance(config.model, DatConfig):
        try:
            plan_augmentation(spec, config.model)
        except ConfigError as mistake:
            yield str(mistake)
