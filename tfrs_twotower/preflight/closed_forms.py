"""What models in closed form need of a feature spec: histories, ids, texts."""

from collections.abc import Iterator

from tfrs_twotower.config import TasteMemberConfig
from tfrs_twotower.specs import FeatureSpec, TextFeature, taste_features


def sides_without_text(spec: FeatureSpec) -> list[str]:
    """Returns those of `query.features` and `candidate.features` without a text feature."""
    return [
        f"{name}.features"
        for name, side in (("query", spec.query), ("candidate", spec.candidate))
        if not any(isinstance(feature, TextFeature) for feature in side.features)
    ]


def check_linear(spec: FeatureSpec, setting: str, way_out: str) -> Iterator[str]:
    """Yields what a setting lacks that scores candidates from the candidates of a history."""
    if not spec.histories:
        yield (
            f"{setting}, which scores from a query's history; the spec '{spec.name}' has no "
            f"feature of kind history in query.features. Add one, or {way_out}."
        )
    yield from _check_hashed_ids(spec, setting, way_out)


def _check_hashed_ids(spec: FeatureSpec, setting: str, way_out: str) -> Iterator[str]:
    identity = spec.candidate_id_feature
    if identity is not None and identity.hash_buckets is not None:
        yield (
            f"{setting}, but candidate.features.{identity.name} is hashed (hash_buckets), so a "
            f"history does not say which candidates it holds. Remove hash_buckets, or {way_out}."
        )


def check_tastes(spec: FeatureSpec, section: TasteMemberConfig) -> Iterator[str]:
    """Yields what tastes lack: categories that are not hashed, or texts for words."""
    has_text = "candidate.features" not in sides_without_text(spec)
    if section.words and not has_text:
        yield (
            f"pre_ranking.tastes.words is {section.words}, but the spec '{spec.name}' has no "
            "feature of kind text in candidate.features. Add one, or set words to 0."
        )
    elif not section.words and not taste_features(spec):
        or_words = ", set tastes.words" if has_text else ""
        yield (
            "pre_ranking.tastes is set, which scores the values that a history prefers; the spec "
            f"'{spec.name}' has no feature of kind categorical or multi_categorical without "
            f"hash_buckets in candidate.features. Add one{or_words}, or set tastes: null."
        )


def check_bm25(spec: FeatureSpec) -> Iterator[str]:
    """Yields what BM25 lacks as a member of the pre-ranker."""
    lacking = sides_without_text(spec)
    if "candidate.features" in lacking:
        yield (
            "pre_ranking.bm25 is set, which compares the words of candidates; the spec "
            f"'{spec.name}' has no feature of kind text in candidate.features. Add one, or set "
            "bm25: null."
        )
    elif "query.features" in lacking and not spec.histories:
        yield (
            "pre_ranking.bm25 is set, which takes a query's words from its text or from the texts "
            f"of its history; the spec '{spec.name}' has no feature of kind text or history in "
            "query.features. Add one, or set bm25: null."
        )
    elif "query.features" in lacking:
        yield from _check_hashed_ids(spec, "pre_ranking.bm25 is set", "set bm25: null")
