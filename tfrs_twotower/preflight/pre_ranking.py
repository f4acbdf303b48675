"""Do retrieval, mining, the pre-ranker and what is served and measured of it fit each other?"""

from collections.abc import Iterator

from tfrs_twotower.config import PreRankingConfig, RunConfig
from tfrs_twotower.preflight.data_needs import sides_without_text
from tfrs_twotower.specs import FeatureSpec


def check_pre_ranking(spec: FeatureSpec, config: RunConfig) -> Iterator[str]:
    """Yields mistakes of the pre_ranking section, if there is one."""
    section = config.pre_ranking
    if section is None:
        return
    yield from _check_lengths(section, config)
    yield from _check_teacher(spec, section)
    if section.ease is not None:
        yield from _check_ease(spec, "ease is set", "set ease: null")


def _check_lengths(section: PreRankingConfig, config: RunConfig) -> Iterator[str]:
    found = section.num_candidates
    lists = [
        ("evaluate.ks has", max(config.evaluate.ks)),
        ("export.k is", config.export.k),
        ("pre_ranking.mining.depth is", section.mining.depth),
    ]
    if section.early_stopping is not None:
        k = int(section.early_stopping.metric.partition("@")[2])
        lists.append(("pre_ranking.early_stopping.metric is at", k))
    for what, length in lists:
        if length > found:
            yield (
                f"{what} {length}, more than pre_ranking.num_candidates {found}: so many are never "
                f"re-scored. Raise num_candidates to {length} or more, or lower the other."
            )
    if section.list_size > section.mining.depth:
        yield (
            f"pre_ranking.list_size is {section.list_size}, more than pre_ranking.mining.depth "
            f"{section.mining.depth}, which they are drawn from. Set list_size to "
            f"{section.mining.depth} or less, or raise the depth."
        )


def _check_teacher(spec: FeatureSpec, section: PreRankingConfig) -> Iterator[str]:
    teacher, terms = section.mining.teacher, section.list_terms
    for name, weight in (("listwise_kl", terms.listwise_kl), ("margin_mse", terms.margin_mse)):
        if weight > 0 and teacher == "none":
            yield (
                f"pre_ranking.list_terms.{name} is {weight}, but pre_ranking.mining.teacher is "
                "none: there is nothing to distill. Choose a teacher, or set the weight to 0."
            )
    if teacher == "ease":
        yield from _check_ease(spec, "mining.teacher is ease", "choose another teacher")
    lacking = sides_without_text(spec)
    if teacher == "bm25" and lacking:
        yield (
            "pre_ranking.mining.teacher is bm25, which needs a text feature on both sides; the "
            f"spec '{spec.name}' has none in {' and '.join(lacking)}. Choose another teacher."
        )


def _check_ease(spec: FeatureSpec, setting: str, way_out: str) -> Iterator[str]:
    if not spec.histories:
        yield (
            f"pre_ranking.{setting}, which scores from a query's history; the spec '{spec.name}' "
            f"has no feature of kind history in query.features. Add one, or {way_out}."
        )
    identity = spec.candidate_id_feature
    if identity is not None and identity.hash_buckets is not None:
        yield (
            f"pre_ranking.{setting}, but candidate.features.{identity.name} is hashed "
            "(hash_buckets), so a history does not say which candidates it holds. Remove "
            f"hash_buckets, or {way_out}."
        )
