"""Do the terms of the objective fit the towers that are trained with them?"""

from collections.abc import Iterator

from tfrs_twotower.config import FittingConfig, IntTowerConfig, ModelConfig, RunConfig
from tfrs_twotower.specs import CategoricalFeature, FeatureSpec


def check_terms(spec: FeatureSpec, config: RunConfig) -> Iterator[str]:
    """Yields mistakes of `terms`, of the towers and of the pre-ranker."""
    yield from _check(spec, "training", config.training, config.model.kind)
    yield from _check_flat_heads("training", config.training, "model", config.model)
    if config.pre_ranking is not None:
        yield from _check(spec, "pre_ranking", config.pre_ranking, "inttower")
        for number, model in enumerate(config.pre_ranking.models):
            section = f"pre_ranking.models.{number}"
            yield from _check_flat_heads("pre_ranking", config.pre_ranking, section, model)


def _check(spec: FeatureSpec, section: str, fitting: FittingConfig, kind: str) -> Iterator[str]:
    terms = fitting.terms
    needs = (
        ("mimic", terms.mimic, "dat"),
        ("contrastive_interaction", terms.contrastive_interaction, "inttower"),
        ("interaction", terms.interaction, "inttower"),
    )
    for name, term, needed in needs:
        if term is not None and kind != needed:
            yield (
                f"{section}.terms.{name} is set, but the towers are of kind {kind}; the term is "
                f"for kind {needed}. Remove it"
                + (f", or set model.kind: {needed}." if section == "training" else ".")
            )
    alignment = terms.category_alignment
    if alignment is None:
        return
    features = spec.candidate.features
    names = [feature.name for feature in features if isinstance(feature, CategoricalFeature)]
    if alignment.feature not in names:
        yield (
            f"{section}.terms.category_alignment.feature is {alignment.feature!r}, which is no "
            f"categorical feature of the candidates; the spec '{spec.name}' has "
            f"{', '.join(names) or 'none'}. Name one of kind categorical, or remove the term."
        )


def _check_flat_heads(
    section: str, fitting: FittingConfig, model_section: str, model: ModelConfig
) -> Iterator[str]:
    """CIR compares the flattened heads of the last query layer with a candidate's."""
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
