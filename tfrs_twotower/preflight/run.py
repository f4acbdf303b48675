"""Checks that a run config fits its feature spec, and that the sections of the config agree."""

from collections.abc import Callable, Iterator

from tfrs_twotower import specs
from tfrs_twotower.config import FittingConfig, PreRankingConfig, RunConfig
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.preflight.ance import check_ance
from tfrs_twotower.preflight.closed_forms import (
    check_bm25,
    check_linear,
    check_tastes,
    sides_without_text,
)
from tfrs_twotower.preflight.model_section import check_towers
from tfrs_twotower.preflight.query_slots import check_query_slots
from tfrs_twotower.preflight.teachers import check_teacher
from tfrs_twotower.preflight.terms import check_terms

_WITH_VALUES = (specs.IdFeature, specs.CategoricalFeature, specs.MultiCategoricalFeature)
Check = Callable[[specs.FeatureSpec, RunConfig], Iterator[str]]
"""Yields the mistakes of a run config, without the name of the run."""


def check_data_needs(spec: specs.FeatureSpec, config: RunConfig) -> Iterator[str]:
    """Yields mistakes of the training and evaluation sections."""
    yield from _check_time(spec, config)
    yield from _check_validation(spec, config)
    yield from _check_negatives(spec, config)
    yield from _check_baselines(spec, config)


def _fittings(config: RunConfig) -> Iterator[tuple[str, FittingConfig]]:
    yield "training", config.training
    if config.pre_ranking is not None:
        yield "pre_ranking", config.pre_ranking


def _check_time(spec: specs.FeatureSpec, config: RunConfig) -> Iterator[str]:
    half_life = config.training.time_decay_half_life_days
    if half_life is not None and not spec.interactions.has_times:
        yield (
            f"training.time_decay_half_life_days is {half_life}, but the spec '{spec.name}' has "
            "no interactions.timestamp with times to take an age from. Set it to null, or name the "
            "column."
        )


def _check_validation(spec: specs.FeatureSpec, config: RunConfig) -> Iterator[str]:
    split = spec.split
    if not isinstance(split, specs.GivenSplit) or split.validation not in (split.train, split.test):
        return
    other = "train" if split.validation == split.train else "test"
    for section, fitting in _fittings(config):
        if fitting.early_stopping is not None:
            yield (
                f"{section}.early_stopping is set, but the spec '{spec.name}' gives validation and "
                f"{other} the same split value '{split.validation}'. Set {section}.early_stopping: "
                "null, or mark validation records with a value of their own."
            )


def _check_negatives(spec: specs.FeatureSpec, config: RunConfig) -> Iterator[str]:
    for section, fitting in _fittings(config):
        softmax = fitting.softmax
        if softmax.logq == "none" and softmax.logq_strength != 1.0:
            yield (
                f"{section}.softmax.logq_strength is {softmax.logq_strength}, but logq is none: "
                "there is nothing to multiply. Set logq to counted or streaming, or remove the "
                "strength."
            )


def _check_baselines(spec: specs.FeatureSpec, config: RunConfig) -> Iterator[str]:
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
    for name in ("recent_popularity", "recent_ease"):
        if name in baselines and not spec.interactions.has_times:
            yield (
                f"evaluate.baselines has {name}, but the spec "
                f"'{spec.name}' has no interactions.timestamp with times. Remove it, or name the "
                "column."
            )
    if isinstance(spec.split, specs.GivenSplit) and spec.interactions.split is None:
        for name in ("item_knn", "ease", "rdlae", "recent_ease", "ials"):
            if name in baselines:
                yield (
                    f"evaluate.baselines has {name}, which ranks from a query's earlier events; "
                    f"the spec '{spec.name}' splits by query (queries.split), so evaluated queries "
                    f"have none. Remove {name}, or split by interaction."
                )


def check_list_lengths(spec: specs.FeatureSpec, config: RunConfig) -> Iterator[str]:
    """Yields mistakes of the index and export sections."""
    yield from _check_index(config)
    yield from _check_words(spec, config)
    yield from _check_export(spec, config)


def _check_index(config: RunConfig) -> Iterator[str]:
    index, export = config.index, config.export
    # The index guarantees its overlap at index.k. A guarantee for longer lists than are served
    # would fail an index, or let it pass, for results that nobody receives.
    if index.k > export.k:
        yield (
            f"index.k is {index.k}, but bundles return export.k {export.k}: overlap would be "
            f"measured on lists that are never served. Set index.k to {export.k} or less, or "
            "raise export.k."
        )
    if index.kind == "brute_force":
        tree = {
            "num_leaves": index.num_leaves,
            "num_leaves_to_search": index.num_leaves_to_search,
            "num_reordering_candidates": index.num_reordering_candidates,
        }
        for key, value in tree.items():
            if value is not None:
                yield (
                    f"index.{key} is {value}, but index.kind is brute_force, which has none. "
                    "Remove the key, or set index.kind: scann."
                )
    elif index.vectors == "int8" and index.kind not in ("auto", "hybrid"):
        yield (
            f"index.vectors is int8, but index.kind is {index.kind}; only brute_force stores int8 "
            "vectors. Remove the key, or set index.kind: brute_force."
        )
    if index.kind == "ivf" and index.num_reordering_candidates is not None:
        yield (
            f"index.num_reordering_candidates is {index.num_reordering_candidates}, but index.kind "
            "is ivf, which scores every candidate it reads exactly. Remove the key."
        )
    leaves, searched = index.num_leaves, index.num_leaves_to_search
    if leaves is not None and searched is not None and searched > leaves:
        yield (
            f"index.num_leaves_to_search is {searched}, more than index.num_leaves {leaves}. "
            f"Set it to {leaves} or less."
        )
    reordered = index.num_reordering_candidates
    if reordered is not None and reordered < index.k:
        yield (
            f"index.num_reordering_candidates is {reordered}, less than index.k {index.k}. "
            f"Set it to {index.k} or more."
        )


def _check_words(spec: specs.FeatureSpec, config: RunConfig) -> Iterator[str]:
    kind = config.index.kind
    if kind not in ("lexical", "hybrid"):
        return
    lacking = sides_without_text(spec)
    if lacking:
        yield (
            f"index.kind is {kind}, which searches words and needs a text feature on both sides; "
            f"the spec '{spec.name}' has none in {' and '.join(lacking)}. Add one, or set another "
            "kind, such as auto."
        )
    if kind == "hybrid" and config.model.wide is not None:
        yield (
            "index.kind is hybrid, which joins words with cosines, and with model.wide the scores "
            "are none. Set model.wide: null, or another kind."
        )
    shards = config.export.shards
    if shards > 1 and kind == "hybrid":
        yield (
            f"export.shards is {shards}, but index.kind is hybrid, whose scores are shares of the "
            "query's best ones in the whole corpus, which no shard knows, so that lists of several "
            "shards could not be merged. Set export.shards: 1, or index.kind: lexical."
        )
    elif shards > 1 and config.index.lexical.feedback:
        yield (
            f"export.shards is {shards}, but index.lexical.feedback is true, which asks words of "
            "the query's first passages in the whole corpus; a shard has only its own. Set "
            "export.shards: 1, or feedback: false."
        )


def _check_export(spec: specs.FeatureSpec, config: RunConfig) -> Iterator[str]:
    features = spec.candidate.features
    allowed = [feature.name for feature in features if isinstance(feature, _WITH_VALUES)]
    for name in config.export.restricts:
        if name not in allowed:
            yield (
                f"export.restricts names {name!r}; requests can restrict by candidate features of "
                f"kind id, categorical or multi_categorical, which are "
                f"{', '.join(allowed) or 'none in this spec'}. Name one of them, or remove it."
            )
    sizes = config.export.allowed_batch_sizes
    if not sizes or list(sizes) != sorted(set(sizes)):
        yield (
            f"export.allowed_batch_sizes is {list(sizes)}; a server needs at least one size, in "
            f"rising order, each once. Write {sorted(set(sizes)) or [1, 8, 64]}."
        )


def check_pre_ranking(spec: specs.FeatureSpec, config: RunConfig) -> Iterator[str]:
    """Yields mistakes of the pre_ranking section, if there is one."""
    section = config.pre_ranking
    if section is None:
        return
    yield from _check_lengths(section, config)
    yield from check_teacher(spec, section)
    for name in ("ease", "tastes", "item_knn"):
        if getattr(section, name) is not None:
            yield from check_linear(spec, f"pre_ranking.{name} is set", f"set {name}: null")
    if section.tastes is not None:
        yield from check_tastes(spec, section.tastes)
    if section.bm25 is not None:
        yield from check_bm25(spec)


def _check_lengths(section: PreRankingConfig, config: RunConfig) -> Iterator[str]:
    num_candidates = section.num_candidates
    lists = [
        ("evaluate.ks has", max(config.evaluate.ks)),
        ("export.k is", config.export.k),
        ("pre_ranking.mining.depth is", section.mining.depth),
    ]
    if section.early_stopping is not None:
        k = int(section.early_stopping.metric.partition("@")[2])
        lists.append(("pre_ranking.early_stopping.metric is at", k))
    for what, length in lists:
        if length > num_candidates:
            yield (
                f"{what} {length}, more than pre_ranking.num_candidates {num_candidates}, which is "
                f"how many are scored again. Raise num_candidates to {length} or more, or lower "
                "the other."
            )
    if section.list_size > section.mining.depth:
        yield (
            f"pre_ranking.list_size is {section.list_size}, more than pre_ranking.mining.depth "
            f"{section.mining.depth}, from which the lists are drawn. Set list_size to "
            f"{section.mining.depth} or less, or raise the depth."
        )


CHECKS: tuple[Check, ...] = (
    check_towers,
    check_query_slots,
    check_terms,
    check_ance,
    check_data_needs,
    check_list_lengths,
    check_pre_ranking,
)


def check_run(spec: specs.FeatureSpec, config: RunConfig) -> None:
    """Checks that the run config fits the spec, and its sections each other.

    Raises:
        ConfigError: one line for each mistake: where, what was found, what is allowed, what to
            do.
    """
    mistakes = [mistake for check in CHECKS for mistake in check(spec, config)]
    if mistakes:
        raise ConfigError("\n".join(f"run '{config.name}': {mistake}" for mistake in mistakes))
