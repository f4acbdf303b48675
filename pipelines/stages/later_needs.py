"""What the stages of a run need of the preprocessed data, checked before anything is trained."""

from collections.abc import Collection, Iterator, Mapping

from pipelines.stages.context import StageContext
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.config import RunConfig, has_cross_encoder, pre_ranking_of
from tfrs_twotower.environment import is_importable
from tfrs_twotower.errors import ArtifactError, ConfigError

_NO_VALIDATION = "the split has no validation query"
_WIDEN = "give the split validation events (split in the feature spec)"


def check_data(context: StageContext, stages: Collection[str]) -> str:
    """Checks the preprocessed data of a run; returns why the run has no report, or "".

    Raises:
        ConfigError, UnsupportedEnvironment: see `check_needs`.
    """
    try:
        counts = read_manifest(context.layout.preprocessed, "preprocessed").counts
    except ArtifactError:
        return ""  # the stage that reads it says so
    check_needs(context.config, counts, stages)
    reason = without_report(counts)
    if reason and context.layout.report.exists():
        reason += f"; {context.layout.report} is of an earlier run"
    return reason


def check_packages(config: RunConfig) -> None:
    """Checks the packages of the index that the config names, before tables are read.

    Raises:
        MissingExtra: ScaNN is not installed.
    """
    if config.index.kind == "scann" and not is_importable("scann"):
        from tfrs_twotower.index.scann_search import load_scann

        load_scann()


def check_operations(config: RunConfig) -> None:
    """Checks that the operations that a bundle is to have can be loaded, before tables are read.

    Raises:
        UnsupportedEnvironment, CorruptArtifact: see `serving.ops.library.load`.
    """
    if config.export.fused_ops:
        from serving.ops import library

        library.load()


def check_checkpoints(context: StageContext) -> None:
    """Checks the files of pretrained encoders, before tables are read.

    Raises:
        FeatureSpecError, ConfigError: see `tfrs_twotower.towers.build.check_checkpoints`.
    """
    spec, config = context.spec, context.config
    features = (*spec.query.features, *spec.candidate.features)
    if any(getattr(feature, "checkpoint", None) for feature in features):
        from tfrs_twotower.towers import build

        dim = config.model.embedding_dim if config.training.epochs == 0 else None
        build.check_checkpoints(spec, context.data_root, zero_shot_dim=dim)
    if has_cross_encoder(config):
        from tfrs_twotower.towers import cross_encoder

        settings = pre_ranking_of(config).mining.cross_encoder
        cross_encoder.check_checkpoint(spec, settings, context.data_root)


def check_needs(config: RunConfig, counts: Mapping[str, int], stages: Collection[str]) -> None:
    """Checks that the data has what the stages read.

    Args:
        config: the run config.
        counts: of the preprocessed artifact; a count that is not there is not checked.
        stages: names of the stages that will run.

    Raises:
        ConfigError: one line for each mistake: where, what was found, what to do.
            Also if the key that should sign the bundle cannot be read.
        UnsupportedEnvironment: the index will be of kind scann, and ScaNN cannot be loaded, or
            nothing is installed that signs.
    """
    mistakes = [
        *(_train_needs(config, counts) if "train" in stages else ()),
        *(_wide_needs(config, counts) if "train" in stages else ()),
        *(_ance_needs(config, counts) if "train" in stages else ()),
        *(_pre_ranker_needs(config, counts) if "train-pre-ranker" in stages else ()),
        *(_index_needs(config, counts) if "build-index" in stages else ()),
        *(_export_needs(config, counts) if "export" in stages else ()),
    ]
    if mistakes:
        raise ConfigError("\n".join(f"run '{config.name}': {mistake}" for mistake in mistakes))


def without_report(counts: Mapping[str, int]) -> str:
    """Why a run on this data has no report; "" if it has one."""
    if counts.get("test_queries", 1):
        return ""
    return (
        "the split has no test query: everything is trained on or validated with, and there is no "
        "report. For one, give the split test events (split in the feature spec)"
    )


def _train_needs(config: RunConfig, counts: Mapping[str, int]) -> Iterator[str]:
    if config.training.refit and not counts.get("validation_queries", 1):
        yield (
            f"training.refit is set, but {_NO_VALIDATION}, so the best number of epochs, which it "
            "repeats, is unknown. Set training.refit: false and training.epochs to the number you "
            f"want, or {_WIDEN}."
        )


def _wide_needs(config: RunConfig, counts: Mapping[str, int]) -> Iterator[str]:
    wide, num_candidates = config.model.wide, counts.get("candidates", 0)
    if wide is None:
        return
    if not counts.get("validation_queries", 1):
        yield (
            f"model.wide fits its weights on validation queries, but {_NO_VALIDATION}. Set "
            f"model.wide: null, or {_WIDEN}."
        )
    if wide.kind in ("ease", "rdlae") and num_candidates > wide.max_candidates:
        yield (
            f"model.wide.kind is {wide.kind}, but the corpus has {num_candidates:,} candidates, "
            f"more than model.wide.max_candidates {wide.max_candidates:,}: it inverts a matrix of "
            "that order. Set model.wide.kind: truncated, or raise the limit."
        )


def _ance_needs(config: RunConfig, counts: Mapping[str, int]) -> Iterator[str]:
    ance, num_candidates = config.training.ance, counts.get("candidates")
    if ance is None or num_candidates is None:
        return
    if ance.ranks[1] >= num_candidates:
        yield (
            f"training.ance.ranks is {list(ance.ranks)}, but the corpus has {num_candidates:,} "
            "candidates, and a list leaves out at least the positive. Lower the last rank to "
            f"{num_candidates - 1} or less."
        )
    limit = config.evaluate.ease_max_candidates
    if ance.teacher == "ease" and num_candidates > limit:
        yield (
            f"training.ance.teacher is ease, but the corpus has {num_candidates:,} candidates, "
            f"more than evaluate.ease_max_candidates {limit:,}: EASE inverts a matrix of that "
            "order. Raise the limit, or choose another teacher."
        )


def _pre_ranker_needs(config: RunConfig, counts: Mapping[str, int]) -> Iterator[str]:
    section = config.pre_ranking
    if section is None:
        return
    if not counts.get("validation_queries", 1):
        yield (
            f"pre_ranking fits the weights of both stages' scores on validation queries, but "
            f"{_NO_VALIDATION}. Set pre_ranking: null, or {_WIDEN}."
        )
    num_candidates = counts.get("candidates", 0)
    limits = []
    if section.ease is not None and section.ease.kind != "truncated":
        limits.append(
            ("ease is set", "pre_ranking.ease.max_candidates", section.ease.max_candidates)
        )
    if section.mining.teacher == "ease":
        limit = config.evaluate.ease_max_candidates
        limits.append(("mining.teacher is ease", "evaluate.ease_max_candidates", limit))
    for setting, key, limit in limits:
        if num_candidates > limit:
            yield (
                f"pre_ranking.{setting}, but the corpus has {num_candidates:,} candidates, more "
                f"than {key} {limit:,}: EASE inverts a matrix of that order. Raise the limit, or "
                "leave ease out."
            )


def _index_needs(config: RunConfig, counts: Mapping[str, int]) -> Iterator[str]:
    if "candidates" not in counts:
        return
    from tfrs_twotower.index.quality import resolve_kind

    kind = resolve_kind(config.index, counts["candidates"])
    if kind == "scann":
        from tfrs_twotower.index.scann_search import load_scann

        load_scann()
    exact = kind == "brute_force" and config.index.vectors == "float32"
    if not exact and not any(counts.get(f"{split}_queries", 1) for split in ("validation", "test")):
        yield (
            f"index.kind {kind} with {config.index.vectors} vectors is measured on validation or "
            "test queries, and the split has neither. Set index.kind: brute_force and "
            f"index.vectors: float32, or {_WIDEN}."
        )


def _export_needs(config: RunConfig, counts: Mapping[str, int]) -> Iterator[str]:
    from serving.bundle import signing_keys  # a run without the extra names [pipelines] instead

    signing_keys.signing_key()
    shards, num_candidates = config.export.shards, counts.get("candidates")
    if num_candidates is not None and shards > num_candidates:
        yield (
            f"export.shards is {shards}, but the corpus has {num_candidates} candidates; every "
            "shard needs at least one. Lower it."
        )
