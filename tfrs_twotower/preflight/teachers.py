"""Checks that the teacher of the pre-ranker fits the features and has something to teach."""

from collections.abc import Iterator

from tfrs_twotower import specs
from tfrs_twotower.config import PreRankingConfig
from tfrs_twotower.preflight.closed_forms import check_linear, sides_without_text


def check_teacher(spec: specs.FeatureSpec, section: PreRankingConfig) -> Iterator[str]:
    """Yields mistakes of `pre_ranking.mining` and of the terms that distil."""
    teacher, terms = section.mining.teacher, section.list_terms
    for name, weight in (("listwise_kl", terms.listwise_kl), ("margin_mse", terms.margin_mse)):
        if weight > 0 and teacher == "none":
            yield (
                f"pre_ranking.list_terms.{name} is {weight}, but pre_ranking.mining.teacher is "
                "none: there is nothing to distill. Choose a teacher, or set the weight to 0."
            )
    if teacher == "ease":
        yield from check_linear(
            spec, "pre_ranking.mining.teacher is ease", "choose another teacher"
        )
    lacking = sides_without_text(spec)
    if teacher in ("bm25", "cross_encoder") and lacking:
        yield (
            f"pre_ranking.mining.teacher is {teacher}, which needs a text feature on both sides; "
            f"the spec '{spec.name}' has none in {' and '.join(lacking)}. Choose another teacher."
        )
    elif teacher == "cross_encoder":
        yield from _check_cross_encoder(spec, section)


def _check_cross_encoder(spec: specs.FeatureSpec, section: PreRankingConfig) -> Iterator[str]:
    settings, where = section.mining.cross_encoder, "pre_ranking.mining.cross_encoder"
    if not section.models:
        yield (
            "pre_ranking.mining.teacher is cross_encoder, but pre_ranking.models is empty, so that "
            "nothing is mined and nothing would learn from it. Name a model, or set teacher: none."
        )
    if settings.negatives > section.mining.depth:
        yield (
            f"{where}.negatives is {settings.negatives}, more than pre_ranking.mining.depth "
            f"{section.mining.depth}, from which they are drawn. Set negatives to "
            f"{section.mining.depth} or less, or raise the depth."
        )
    if settings.encoder == "transformer" and settings.dim % settings.num_heads:
        yield (
            f"{where}.num_heads is {settings.num_heads}, which does not divide {where}.dim "
            f"{settings.dim}. Set num_heads to a divisor of it."
        )
    checkpoints = {
        feature.checkpoint
        for feature in (*spec.query.features, *spec.candidate.features)
        if isinstance(feature, specs.TextFeature)
    }
    if settings.encoder == "pretrained" and (len(checkpoints) > 1 or None in checkpoints):
        found = ", ".join(sorted(name or "no checkpoint" for name in checkpoints))
        yield (
            f"{where}.encoder is pretrained, which reads all texts with one encoder; the text "
            f"features of the spec '{spec.name}' have {found}. Give all of them encoder: "
            "pretrained and the same checkpoint, or set encoder: transformer."
        )
