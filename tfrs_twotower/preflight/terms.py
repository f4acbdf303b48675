"""Do the terms of the objective fit the towers that are trained with them?"""

from collections.abc import Iterator

from tfrs_twotower.config import FittingConfig, RunConfig
from tfrs_twotower.specs import CategoricalFeature, FeatureSpec


def check_terms(spec: FeatureSpec, config: RunConfig) -> Iterator[str]:
    """Yields mistakes of `terms`, of the towers and of the pre-ranker."""
    yield from _check(spec, "training", config.training, config.model.kind)
    if config.pre_ranking is not None:
        yield from _check(spec, "pre_ranking", config.pre_ranking, "inttower")


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
