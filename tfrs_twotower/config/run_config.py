"""The run config: which feature spec to use, and the settings of every stage."""

import os
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, NonNegativeInt

from tfrs_twotower.config import model_config, pre_ranking_config, stage_configs, training_config
from tfrs_twotower.documents import Document, load_yaml, parse, user_path
from tfrs_twotower.errors import ConfigError

DATA_VARIABLE = "TWOTOWER_DATA"
_END_OF_SCALAR = "...\n"


class RunConfig(Document):
    """One run: data set, model, and the settings of every stage."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """Name of the run, and of its bundle."""
    spec: str
    """Path of the feature spec, relative to this file; `~` is the home directory."""
    data_root: str | None = None
    """Directory where the spec's relative paths start, relative to this file (`~` is the home
    directory); by default $TWOTOWER_DATA, or `data` in the current directory."""
    seed: NonNegativeInt = 42
    """Seed of everything that is random."""
    preprocess: stage_configs.PreprocessConfig = stage_configs.PreprocessConfig()
    """How tables become examples."""
    model: model_config.ModelConfig = model_config.PlainTowerConfig()
    """The towers."""
    training: training_config.TrainingConfig = training_config.TrainingConfig()
    """How the towers are trained."""
    daily: stage_configs.DailyConfig = stage_configs.DailyConfig()
    """The training of `twotower run --since`."""
    embed: stage_configs.EmbedConfig = stage_configs.EmbedConfig()
    """How the corpus and the evaluated queries are embedded."""
    index: stage_configs.IndexConfig = stage_configs.IndexConfig()
    """The candidate index."""
    pre_ranking: pre_ranking_config.PreRankingConfig | None = None
    """The second stage of the cascade; null leaves it out."""
    export: stage_configs.ExportConfig = stage_configs.ExportConfig()
    """Bundles for TF Serving."""
    evaluate: stage_configs.EvaluateConfig = stage_configs.EvaluateConfig()
    """The offline evaluation."""


def load_run_config(path: Path, overrides: tuple[str, ...] = ()) -> RunConfig:
    """Reads a run config and applies `a.b=value` overrides (values are YAML).

    Raises:
        ConfigError: the file or an override does not describe a run.
    """
    data = load_yaml(path, ConfigError)
    if "interactions" in data and "spec" not in data:
        raise ConfigError(
            f"{path}: this is a feature spec, expected a run config: a YAML file whose key `spec` "
            f"names a feature spec, such as `spec: {path.name}`."
        )
    data.setdefault("name", path.stem)
    for override in overrides:
        apply_override(data, override)
    config = parse(RunConfig, data, str(path), ConfigError)
    _check(config, str(path))
    return config


def pre_ranking_of(config: RunConfig) -> pre_ranking_config.PreRankingConfig:
    """The pre-ranking section.

    Raises:
        ConfigError: the run config has no such section.
    """
    if config.pre_ranking is None:
        raise ConfigError(
            f"run '{config.name}': the run config has no pre_ranking section, so there is no "
            "pre-ranker to mine for or to train. Add one (`pre_ranking: {}` takes the defaults), "
            "or leave out this stage."
        )
    return config.pre_ranking


def searches_words(config: RunConfig) -> bool:
    """Whether the first stage searches words, alone or beside vectors."""
    return config.index.kind in ("lexical", "hybrid")


def has_cross_encoder(config: RunConfig) -> bool:
    """Whether a cross-encoder is trained, to teach trained members of the pre-ranker."""
    section = config.pre_ranking
    return (
        section is not None and bool(section.models) and section.mining.teacher == "cross_encoder"
    )


def spec_path(config: RunConfig, config_path: Path) -> Path:
    """The feature spec's path: `spec`, relative to the run config's directory."""
    return user_path(config.spec, config_path.parent).resolve()


def data_root(config: RunConfig, config_path: Path) -> Path:
    """Directory where the spec's relative paths start."""
    if config.data_root is not None:
        return user_path(config.data_root, config_path.parent).resolve()
    return user_path(os.environ.get(DATA_VARIABLE) or "data", Path()).resolve()


def apply_override(data: dict[str, Any], override: str) -> None:
    """Sets a key of a document's content as `--set` says: `a.b=value`, the value YAML.

    The entries of a list are counted from 0: `pre_ranking.models.0.dropout=0.1`.

    Raises:
        ConfigError: it is not of that form, or names an entry that a list does not have.
    """
    keys, equals, value = override.partition("=")
    if not equals or not keys:
        raise ConfigError(f"--set {override}: expected a.b=value, such as training.batch_size=512")
    *parents, last = keys.split(".")
    section: Any = data
    for key in parents:
        place = _place(section, key, override)
        inner = section.setdefault(key, {}) if isinstance(section, dict) else section[place]
        if not isinstance(inner, dict | list):
            raise ConfigError(f"--set {override}: '{key}' is a value, not a section")
        # A copy, because other sections may be aliases of the same YAML node.
        section[place] = inner.copy()
        section = section[place]
    try:
        section[_place(section, last, override)] = yaml.safe_load(value)
    except yaml.YAMLError as cause:
        raise ConfigError(
            f"--set {override}: the value is not YAML: "
            f"{_problem(cause)}. Quote it for YAML, as in --set \"name='a: b'\"."
        ) from cause


def _place(section: Any, key: str, override: str) -> Any:
    """A key of a section, or the number of an entry of a list."""
    if isinstance(section, dict):
        return key
    if not (key.isdecimal() and int(key) < len(section)):
        raise ConfigError(
            f"--set {override}: '{key}' is not the number of an entry of the list before it, which "
            f"has {len(section)}; they are counted from 0"
        )
    return int(key)


def as_override(key: str, value: Any) -> str:
    """The text `a.b=value` with which `apply_override` sets a key, with dots, to a value."""
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return f"{key}={text.removesuffix(_END_OF_SCALAR).strip()}"


def _problem(cause: yaml.YAMLError) -> str:
    problem = getattr(cause, "problem", None)
    return problem or " ".join(str(cause).split())


def _check(config: RunConfig, where: str) -> None:
    training = config.training
    _check_fitting(training, f"{where}: training")
    if training.softmax.weight == 0.0:
        raise ConfigError(
            f"{where}: training.softmax.weight is 0, so nothing would train the embeddings that "
            "retrieval compares; it must be above 0"
        )
    wide = config.model.wide
    if wide is not None:
        lists = {"half_lives": wide.half_lives, "popularity_days": wide.popularity_days}
        _check_distinct(lists, f"{where}: model.wide")
        if wide.kind == "none" and not wide.popularity_days:
            raise ConfigError(
                f"{where}: model.wide.kind is none and popularity_days is empty, so nothing stands "
                "beside the trained vectors; set one of them, or model.wide: null"
            )
    if config.pre_ranking is not None:
        _check_fitting(config.pre_ranking, f"{where}: pre_ranking")
        _check_members(config.pre_ranking, f"{where}: pre_ranking")
    if training.refit and training.early_stopping is None:
        raise ConfigError(
            f"{where}: training.refit needs training.early_stopping, whose best epoch it repeats"
        )
    if len(set(config.evaluate.ks)) != len(config.evaluate.ks):
        raise ConfigError(f"{where}: evaluate.ks has repeated values: {config.evaluate.ks}")
    _check_export(config, where)


def _check_export(config: RunConfig, where: str) -> None:
    export = config.export
    if export.fused_ops and export.candidate_heads == "float16":
        raise ConfigError(
            f"{where}: export.candidate_heads is float16, and fused_ops takes float32 or int8; "
            "choose int8, or leave fused_ops out"
        )
    if export.fused_ops and config.pre_ranking is not None:
        for number, member in enumerate(config.pre_ranking.models):
            if member.kind in ("mol", "cold"):
                raise ConfigError(
                    f"{where}: pre_ranking.models.{number}.kind is {member.kind}, and "
                    "export.fused_ops scores members of kind inttower and colbert only; leave "
                    "fused_ops out, or change the kind"
                )
    names = [bundle.name for bundle in export.bundles]
    if len(set(names)) != len(names):
        raise ConfigError(f"{where}: export.bundles: two bundles have the same name: {names}")


def _check_members(pre_ranking: pre_ranking_config.PreRankingConfig, where: str) -> None:
    of_histories = {"ease": pre_ranking.ease, "item_knn": pre_ranking.item_knn}
    closed_forms = (*of_histories.values(), pre_ranking.tastes, pre_ranking.bm25)
    if not pre_ranking.models and not any(closed_forms):
        raise ConfigError(
            f"{where}: models is empty and ease, tastes, item_knn and bm25 are null, so nothing is "
            "left to re-score with; set at least one of them, or pre_ranking: null"
        )
    for number, model in enumerate(pre_ranking.models):
        if model.wide is not None:
            raise ConfigError(
                f"{where}.models.{number}.wide is set; it belongs to the first stage's vectors, "
                "and a member has none. Move it to model.wide, or use pre_ranking.ease"
            )
    lists = {"popularity_days": pre_ranking.popularity_days}
    for key, member in of_histories.items():
        if member is not None:
            lists[f"{key}.half_lives"] = member.half_lives
    _check_distinct(lists, where)


def _check_distinct(lists: dict[str, tuple[float | None, ...]], where: str) -> None:
    for name, values in lists.items():
        if len(set(values)) != len(values):
            shown = ["null" if value is None else f"{value:g}" for value in values]
            raise ConfigError(f"{where}.{name} has repeated values: [{', '.join(shown)}]")


def _check_fitting(fitting: training_config.FittingConfig, where: str) -> None:
    if (fitting.epochs is None) == (fitting.max_steps is None):
        raise ConfigError(
            f"{where}: set exactly one of epochs and max_steps "
            f"(found epochs={fitting.epochs}, max_steps={fitting.max_steps}); "
            "to use max_steps, say `epochs: null`"
        )
    if fitting.batch_size % fitting.replicas:
        raise ConfigError(
            f"{where}.batch_size {fitting.batch_size} is not a multiple of "
            f"{where.rpartition(' ')[2]}.replicas {fitting.replicas}"
        )
    if fitting.cached_chunks > 1 and fitting.replicas > 1:
        raise ConfigError(
            f"{where}: cached_chunks is {fitting.cached_chunks} and replicas {fitting.replicas}; "
            "gradients are cached in one replica only. Set one of them to 1"
        )
    softmax = fitting.softmax
    forms = {
        "refined_logq": softmax.refined_logq,
        "num_hard_negatives": softmax.num_hard_negatives is not None,
        "same_tower": softmax.same_tower != "none",
    }
    chosen = [name for name, wanted in forms.items() if wanted]
    if len(chosen) > 1:
        raise ConfigError(
            f"{where}.softmax: found {' and '.join(chosen)}, which are different forms of one "
            "denominator; choose one"
        )
