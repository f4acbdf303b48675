"""Checks that rounds of mined negatives fit the features: texts for BM25, histories for EASE."""

from collections.abc import Iterator

from tfrs_twotower.config import RunConfig
from tfrs_twotower.preflight.closed_forms import check_linear, sides_without_text
from tfrs_twotower.specs import FeatureSpec


def check_ance(spec: FeatureSpec, config: RunConfig) -> Iterator[str]:
    """Yields mistakes of `training.ance`, if there is such a section."""
    ance = config.training.ance
    if ance is None:
        return
    lacking = sides_without_text(spec)
    for key, value in (("warm_start", ance.warm_start), ("teacher", ance.teacher)):
        if value == "bm25" and lacking:
            yield (
                f"training.ance.{key} is bm25, which needs a text feature on both sides; the spec "
                f"'{spec.name}' has none in {' and '.join(lacking)}. Set it to none, or add texts."
            )
    if ance.teacher != "ease":
        return
    yield from check_linear(spec, "training.ance.teacher is ease", "choose another teacher")
    if ance.warm_start == "bm25":
        yield (
            "training.ance.teacher is ease, which reads histories as the towers of a round before "
            "know them, and before round 0 (warm_start: bm25) there are none. Choose teacher: bm25 "
            "or none, or warm_start: none."
        )
