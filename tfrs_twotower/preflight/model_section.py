"""Checks that model sections fit the features and each other."""

from collections.abc import Iterator

from tfrs_twotower import specs
from tfrs_twotower.config import AugmentedConfig, ColbertConfig, ModelConfig, RunConfig
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.preflight.closed_forms import check_linear, sides_without_text
from tfrs_twotower.preflight.text_sharing import check_text_sharing
from tfrs_twotower.towers.augmentation_plan import plan_augmentation

_LOOKED_UP = (specs.IdFeature, specs.CategoricalFeature, specs.MultiCategoricalFeature)


def check_towers(spec: specs.FeatureSpec, config: RunConfig) -> Iterator[str]:
    """Yields mistakes of the model sections of the towers and of the pre-ranker."""
    models: list[tuple[str, ModelConfig]] = [("model", config.model)]
    if config.pre_ranking is not None:
        members = enumerate(config.pre_ranking.models)
        models += [(f"pre_ranking.models.{number}", model) for number, model in members]
    for section, model in models:
        yield from _check_heads(spec, model, section)
        yield from _check_dropouts(spec, model, section)
        yield from _check_parts(spec, model, section)
        frozen = config.daily.freeze_candidate_tower and section == "model"
        yield from check_text_sharing(spec, model, section, frozen=frozen)
        if isinstance(model, AugmentedConfig):
            try:
                plan_augmentation(spec, model, section)
            except ConfigError as mistake:
                yield str(mistake)
        if isinstance(model, ColbertConfig) and model.muvera is not None:
            yield from _check_muvera(section, model, config)
    yield from _check_chunks(config, models)
    yield from _check_wide(spec, config)
    yield from _check_warm_up(spec, config)
    if config.training.epochs == 0:
        yield from _check_zero_shot(spec, config)


def _check_parts(spec: specs.FeatureSpec, model: ModelConfig, section: str) -> Iterator[str]:
    """Refuses parts of towers that the features do not allow, or that a member has no use for."""
    if model.history_encoder == "transformer":
        yield from _check_sequence(spec, model, section)
    if model.history_content != "none" and not _has_content(spec):
        yield (
            f"{section}.history_content is {model.history_content}, but the spec '{spec.name}' "
            "does not have a history feature and a candidate feature beside the id that "
            "histories could take it from. Remove the key, or add the features to the spec."
        )
    if model.token_table == "svd" and not _bags(spec.candidate):
        yield (
            f"{section}.token_table is svd, but the spec '{spec.name}' has no text feature "
            "with encoder: bag in candidate.features, whose words it could start from. Remove "
            "the key, or add such a feature to the spec."
        )
    if model.query_map != "none" and section != "model":
        yield (
            f"{section}.query_map is {model.query_map}, but a member compares heads, which the "
            "map does not reach. Remove the key; it belongs to the section model."
        )
    if model.kind == "colbert" and (lacking := sides_without_text(spec)):
        yield (
            f"{section}.kind is colbert, which compares the tokens of texts, but the spec "
            f"'{spec.name}' has no text feature in {' and '.join(lacking)}. Choose another "
            "kind, or add one."
        )


def _check_muvera(section: str, model: ColbertConfig, config: RunConfig) -> Iterator[str]:
    """Refuses what is made for the vectors of a plain tower."""
    if section != "model":
        yield (
            f"{section}.muvera is set, but a member compares the tokens themselves. Remove the "
            "key; it belongs to the section model."
        )
        return
    others = {
        "model.wide": model.wide is not None,
        "model.query_map": model.query_map != "none",
        "training.terms.matryoshka": config.training.terms.matryoshka is not None,
        "training.softmax.same_tower": config.training.softmax.same_tower != "none",
    }
    for key in (key for key, is_set in others.items() if is_set):
        yield (
            f"model.muvera is set, and so is {key}, which is made for vectors of cosines and not "
            "for encodings of tokens. Remove one of them."
        )


def _check_chunks(config: RunConfig, models: list[tuple[str, ModelConfig]]) -> Iterator[str]:
    """Refuses gradient caching for towers that compute a part once for a whole batch."""
    for section, model in models:
        fitting = config.training if section == "model" else config.pre_ranking
        if fitting is None or fitting.cached_chunks == 1:
            continue
        settings = (("history_encoder", "mean"), ("history_content", "none"))
        for key, needed in settings:
            if (found := getattr(model, key)) != needed:
                yield (
                    f"{'training' if section == 'model' else 'pre_ranking'}.cached_chunks is "
                    f"{fitting.cached_chunks}, but {section}.{key} is {found}, which is computed "
                    f"for the histories of a whole batch. Set cached_chunks: 1, or {key}: {needed}."
                )


def _check_wide(spec: specs.FeatureSpec, config: RunConfig) -> Iterator[str]:
    wide = config.model.wide
    if wide is None:
        return
    if wide.kind != "none":
        yield from check_linear(
            spec, f"model.wide.kind is {wide.kind}", "set model.wide.kind: none (popularity alone)"
        )
    identity = spec.candidate_id_feature
    if wide.popularity_days and (identity is None or identity.hash_buckets is not None):
        found = "no id feature" if identity is None else f"'{identity.name}', which is hashed"
        yield (
            f"model.wide.popularity_days is set, which counts candidates by their id; the spec "
            f"'{spec.name}' has {found} in candidate.features. Give candidates a feature of kind "
            "id without hash_buckets, or set popularity_days: []."
        )


def _check_zero_shot(spec: specs.FeatureSpec, config: RunConfig) -> Iterator[str]:
    """Refuses towers without training, unless their texts give both a meaning."""
    lacking = [
        f"{name}.features"
        for name, meant in (
            ("query", any(map(_is_pretrained, spec.query.features)) or _query_words(spec, config)),
            (
                "candidate",
                any(map(_is_pretrained, spec.candidate.features))
                or (config.model.token_table == "svd" and bool(_bags(spec.candidate))),
            ),
        )
        if not meant
    ]
    if lacking:
        yield (
            "training.epochs is 0, so the towers stay as they start; only texts on both sides give "
            "them a meaning, pretrained or, with model.token_table: svd, bags of one vocabulary, "
            f"and the spec '{spec.name}' has none in {' and '.join(lacking)}. Add features with "
            "encoder: pretrained, set model.token_table: svd, or train."
        )
    if config.model.kind != "plain":
        yield (
            f"training.epochs is 0, but model.kind is {config.model.kind}, whose parts mean "
            "nothing before they are trained. Set model.kind: plain, or train."
        )
    if config.training.refit and config.model.query_map == "none":
        yield (
            "training.epochs is 0 and training.refit is set: there is nothing to repeat. Set "
            "training.refit: false, or model.query_map: ridge, which learns from examples."
        )


def _query_words(spec: specs.FeatureSpec, config: RunConfig) -> bool:
    """Whether the token table of the corpus reaches the query, by its texts or its history's."""
    shared = _bags(spec.query) & _bags(spec.candidate)
    told = bool(spec.histories) and config.model.history_content != "none"
    return config.model.token_table == "svd" and bool(shared or (told and _bags(spec.candidate)))


def _bags(side: specs.Side) -> set[str]:
    """Vocabularies of the texts of a side that are encoded as bags."""
    return {
        feature.vocabulary_name
        for feature in side.features
        if isinstance(feature, specs.TextFeature) and feature.encoder == "bag"
    }


def _is_pretrained(feature: specs.Feature) -> bool:
    return isinstance(feature, specs.TextFeature) and feature.checkpoint is not None


def _check_warm_up(spec: specs.FeatureSpec, config: RunConfig) -> Iterator[str]:
    """Refuses a warm-up on the candidates' texts where one side has none."""
    lacking = [
        f"{name}.features"
        for name, side in (("query", spec.query), ("candidate", spec.candidate))
        if not any(isinstance(feature, specs.TextFeature) for feature in side.features)
    ]
    if config.training.pseudo_questions is not None and lacking:
        yield (
            "training.pseudo_questions makes questions of the candidates' texts, but the spec "
            f"'{spec.name}' has no text feature in {' and '.join(lacking)}. Remove the key, or add "
            "text features to the spec."
        )


def _features(spec: specs.FeatureSpec) -> Iterator[tuple[str, object]]:
    for feature in spec.query.features:
        yield f"query.features.{feature.name}", feature
    for feature in spec.candidate.features:
        yield f"candidate.features.{feature.name}", feature


def _check_heads(spec: specs.FeatureSpec, model: ModelConfig, section: str) -> Iterator[str]:
    users = [
        f"{where} has encoder: {feature.encoder}"
        for where, feature in _features(spec)
        if isinstance(feature, specs.TextFeature)
        and (feature.encoder == "transformer" or (model.query_slots and feature.contextual))
    ]
    if users and model.embedding_dim % model.transformer.num_heads:
        allowed = [n for n in (1, 2, 4, 8, 16) if model.embedding_dim % n == 0]
        yield (
            f"{section}.transformer.num_heads is {model.transformer.num_heads}, which does not "
            f"divide {section}.embedding_dim {model.embedding_dim} ({users[0]}). "
            f"Set num_heads to one of {', '.join(map(str, allowed))}, or change embedding_dim."
        )


def _check_sequence(spec: specs.FeatureSpec, model: ModelConfig, section: str) -> Iterator[str]:
    """Refuses a transformer over histories that the spec or its own sizes do not allow."""
    if not spec.histories:
        yield (
            f"{section}.history_encoder is transformer, but the spec '{spec.name}' does not have a "
            "history feature. Remove the key, or add a history feature to the spec."
        )
    heads = model.history_transformer.num_heads
    if model.embedding_dim % heads:
        yield (
            f"{section}.history_transformer.num_heads is {heads}, which does not divide "
            f"{section}.embedding_dim {model.embedding_dim}. Set num_heads to a divisor of it."
        )


def _has_content(spec: specs.FeatureSpec) -> bool:
    """Whether histories can know more of a candidate than its id."""
    return bool(spec.histories) and any(
        feature != spec.candidate_id_feature
        for feature in spec.candidate.features
        if not _is_pretrained(feature)
    )


def _check_dropouts(spec: specs.FeatureSpec, model: ModelConfig, section: str) -> Iterator[str]:
    """Refuses the dropout of features that the spec does not have."""
    kinds = [feature for _, feature in _features(spec)]
    needs = (
        ("history_dropout", model.history_dropout, bool(spec.histories), "a history feature"),
        (
            "token_dropout",
            model.token_dropout,
            any(isinstance(feature, specs.TextFeature) for feature in kinds),
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
                f"{section}.{key} is {value}, but the spec '{spec.name}' does not have {what}. "
                f"Remove the key, or add {what} to the spec."
            )
