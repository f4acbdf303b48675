"""Checks that the spec provides the data that training and baselines need."""

from collections.abc import Iterator

from tfrs_twotower.config import FittingConfig, RunConfig
from tfrs_twotower.specs import FeatureSpec, GivenSplit, TextFeature


def check_data_needs(spec: FeatureSpec, config: RunConfig) -> Iterator[str]:
    """Yields mistakes of the training and evaluation sections."""
    yield from _check_time(spec, config)
    yield from _check_validation(spec, config)
    yield from _check_negatives(spec, config)
    yield from _check_baselines(spec, config)


def sides_without_text(spec: FeatureSpec) -> list[str]:
    """Returns those of `query.features` and `candidate.features` without a text feature."""
    return [
        f"{name}.features"
        for name, side in (("query", spec.query), ("candidate", spec.candidate))
        if not any(isinstance(feature, TextFeature) for feature in side.features)
    ]


def _fittings(config: RunConfig) -> Iterator[tuple[str, FittingConfig]]:
    yield "training", config.training
    if config.pre_ranking is not None:
        yield "pre_ranking", config.pre_ranking


def _check_time(spec: FeatureSpec, config: RunConfig) -> Iterator[str]:
    half_life = config.training.time_decay_half_life_days
    if half_life is not None and spec.interactions.timestamp is None:
        yield (
            f"training.time_decay_half_life_days is {half_life}, but the spec '{spec.name}' has "
            "no interactions.timestamp to take an age from. Set it to null, or name the column."
        )


def _check_validation(spec: FeatureSpec, config: RunConfig) -> Iterator[str]:
    split = spec.split
    if not isinstance(split, GivenSplit) or split.validation not in (split.train, split.test):
        return
    other = "train" if split.validation == split.train else "test"
    for section, fitting in _fittings(config):
        if fitting.early_stopping is not None:
            yield (
                f"{section}.early_stopping is set, but the spec '{spec.name}' gives validation and "
                f"{other} the same split value '{split.validation}'. Set {section}.early_stopping: "
                "null, or mark validation records with a value of their own."
            )


def _check_negatives(spec: FeatureSpec, config: RunConfig) -> Iterator[str]:
    for section, fitting in _fittings(config):
        softmax = fitting.softmax
        if softmax.logq == "none" and softmax.logq_strength != 1.0:
            yield (
                f"{section}.softmax.logq_strength is {softmax.logq_strength}, but logq is none: "
                "there is nothing to multiply. Set logq to counted or streaming, or remove the "
                "strength."
            )


def _check_baselines(spec: FeatureSpec, config: RunConfig) -> Iterator[str]:
    baselines = config.evaluate.baselines
    if baselines is None:
        return
    repeated = sorted({name for name in baselines if baselines.count(name) > 1})
    if repeated:
        yield f"evaluate.baselines names {', '.join(repeated)} twice. Name each once."
    lacking = sides_without_text(spec)
    for name in ("bm25", "hybrid"):
        if name in baselines and lacking:
            yield (
                f"evaluate.baselines has {name}, which needs a text feature on both sides; the "
                f"spec '{spec.name}' has none in {' and '.join(lacking)}. "
                f"Remove {name}, or omit baselines to get all that the data allow."
            )
    if "recent_popularity" in baselines and spec.interactions.timestamp is None:
        yield (
            "evaluate.baselines has recent_popularity, but the spec "
            f"'{spec.name}' has no interactions.timestamp. Remove it, or name the column."
        )
    if isinstance(spec.split, GivenSplit) and spec.interactions.split is None:
        for name in ("item_knn", "ease"):
            if name in baselines:
                yield (
                    f"evaluate.baselines has {name}, which ranks from a query's earlier events; "
                    f"the spec '{spec.name}' splits by query (queries.split), so evaluated queries "
                    f"have none. Remove {name}, or split by interaction."
                )
