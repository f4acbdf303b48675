"""Checks that the terms of the objective fit the features, the towers and each other."""

from collections.abc import Iterator

from tfrs_twotower import specs
from tfrs_twotower.config import (
    AugmentedConfig,
    FittingConfig,
    IntTowerConfig,
    ModelConfig,
    RunConfig,
)
from tfrs_twotower.preflight.closed_forms import sides_without_text


def check_terms(spec: specs.FeatureSpec, config: RunConfig) -> Iterator[str]:
    """Yields mistakes of the `terms` of the towers and of the pre-ranker."""
    yield from _check_kind("training", config.training, config.model)
    yield from _check_alignment(spec, "training", config.training)
    yield from _check_flat_heads("training", config.training, "model", config.model)
    yield from _check_widths(config)
    yield from _check_views(spec, "training", config.training)
    if config.pre_ranking is not None:
        models = config.pre_ranking.models or (IntTowerConfig(kind="inttower"),)
        for model in {(one.kind, _augmented(one)): one for one in models}.values():
            yield from _check_kind("pre_ranking", config.pre_ranking, model)
        yield from _check_alignment(spec, "pre_ranking", config.pre_ranking)
        yield from _check_views(spec, "pre_ranking", config.pre_ranking)
        for number, model in enumerate(config.pre_ranking.models):
            section = f"pre_ranking.models.{number}"
            yield from _check_flat_heads("pre_ranking", config.pre_ranking, section, model)


def _check_kind(section: str, fitting: FittingConfig, model: ModelConfig) -> Iterator[str]:
    terms, kind = fitting.terms, model.kind
    needs = (
        ("mimic", terms.mimic, ("dat", "inttower") if _augmented(model) else ("dat",)),
        ("contrastive_interaction", terms.contrastive_interaction, ("inttower",)),
        ("interaction", terms.interaction, ("inttower", "mol", "cold", "colbert")),
    )
    for name, term, needed in needs:
        if term is not None and kind not in needed:
            yield (
                f"{section}.terms.{name} is set, but the towers are of kind {kind}; the term is "
                f"for kind {' or '.join(needed)}. Remove it"
                + (f", or set model.kind: {needed[0]}." if section == "training" else ".")
            )


def _augmented(model: ModelConfig) -> bool:
    """Whether the towers have augmented vectors, which the mimic loss trains."""
    return isinstance(model, AugmentedConfig) and (
        model.query_augmentation != "none" or model.candidate_augmentation != "none"
    )


def _check_alignment(
    spec: specs.FeatureSpec, section: str, fitting: FittingConfig
) -> Iterator[str]:
    alignment = fitting.terms.category_alignment
    if alignment is None:
        return
    features = spec.candidate.features
    names = [feature.name for feature in features if isinstance(feature, specs.CategoricalFeature)]
    if alignment.feature not in names:
        yield (
            f"{section}.terms.category_alignment.feature is {alignment.feature!r}, which is not a "
            f"categorical feature of the candidates; the spec '{spec.name}' has "
            f"{', '.join(names) or 'none'}. Name one of kind categorical, or remove the term."
        )


def _check_views(spec: specs.FeatureSpec, section: str, fitting: FittingConfig) -> Iterator[str]:
    """Refuses views of a side that has no text: they would be what the side is."""
    views = fitting.terms.multi_view
    if views is None:
        return
    lacking = sides_without_text(spec)
    for side in ("query", "candidate"):
        if views.side in (side, "both") and f"{side}.features" in lacking:
            other = "candidate" if side == "query" else "query"
            yield (
                f"{section}.terms.multi_view.side is {views.side}, but the spec '{spec.name}' has "
                f"no text feature in {side}.features. Set side: {other} if that one has text, or "
                "remove the term."
            )


def _check_flat_heads(
    section: str, fitting: FittingConfig, model_section: str, model: ModelConfig
) -> Iterator[str]:
    """CIR compares the flattened heads of the last query layer and of a candidate."""
    if fitting.terms.contrastive_interaction is None or not isinstance(model, IntTowerConfig):
        return
    of_candidate = model.candidate_views * model.num_candidate_heads
    if model.num_query_heads != of_candidate:
        yield (
            f"{section}.terms.contrastive_interaction compares all heads of a query layer with "
            f"those of a candidate, but {model_section} has {model.num_query_heads} "
            f"(num_query_heads) and {of_candidate} (candidate_views x num_candidate_heads). Make "
            "them equal, or remove the term."
        )


def _check_widths(config: RunConfig) -> Iterator[str]:
    """Checks the widths of Matryoshka vectors, and the one that is served."""
    matryoshka, dim = config.training.terms.matryoshka, config.model.embedding_dim
    widths = matryoshka.widths if matryoshka is not None else ()
    too_wide = [width for width in widths if width >= dim]
    if too_wide or len(set(widths)) != len(widths):
        yield (
            f"training.terms.matryoshka.widths is {list(widths)}; they must be distinct, and less "
            f"than model.embedding_dim {dim}, which the softmax trains anyway. Change them."
        )
    if config.pre_ranking is not None and config.pre_ranking.terms.matryoshka is not None:
        yield (
            "pre_ranking.terms.matryoshka is set, but a member compares heads, which have one "
            "width. Move it to training.terms."
        )
    width = config.embed.width
    if width is None:
        return
    if width not in widths:
        allowed = ", ".join(map(str, widths)) or "none, because that term is not set"
        yield (
            f"embed.width is {width}, which is not among training.terms.matryoshka.widths "
            f"({allowed}): so few entries were not trained to rank by themselves. Add it there, or "
            "remove embed.width."
        )
    if config.model.wide is not None:
        yield (
            f"embed.width is {width}, but model.wide appends a part to the vectors whose weights "
            "fit the whole ones. Remove embed.width, or set model.wide: null."
        )
