"""Decides which augmented vectors the two sides have, and from which features."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tfrs_twotower import specs
from tfrs_twotower.config import AugmentedConfig, DatConfig
from tfrs_twotower.errors import ConfigError


@dataclass(frozen=True)
class AugmentationPlan:
    """The augmented vectors of one side."""

    mode: str
    """`learned`, `history_mean`, `random` or `none`."""
    id_feature: specs.IdFeature | None = None
    """The ids that have a learned vector; set for `learned`."""
    history: specs.HistoryFeature | None = None
    """The history whose mean is the vector (`history_mean`), or replaces that of an unknown id
    (`learned`, if the side has a history)."""
    segment: specs.CategoricalFeature | None = None
    """The segment whose mean replaces the vector of an unknown id without a history (`learned`)."""


def plan_augmentation(
    spec: specs.FeatureDeclarations, config: AugmentedConfig, section: str = "model"
) -> dict[str, AugmentationPlan]:
    """Plans the augmented vectors of `query` and `candidate`.

    Args:
        spec: the features of both sides.
        config: a model section.
        section: its place in the run config.

    Raises:
        ConfigError: a feature that the config needs is not in the spec, or nothing is augmented
            although it should be.
    """
    settings = {
        "query": (config.query_augmentation, config.query_segment),
        "candidate": (config.candidate_augmentation, config.candidate_segment),
    }
    plans = {
        side: _plan(section, side, getattr(spec, side).features, *asked)
        for side, asked in settings.items()
    }
    is_dat = isinstance(config, DatConfig)
    wanted = is_dat or any(setting != "none" for setting, _ in settings.values())
    if wanted and all(plan.mode == "none" for plan in plans.values()):
        raise ConfigError(
            f"{section}.kind is {'dat' if is_dat else 'inttower'}, but with the features of this "
            f"spec query_augmentation is {config.query_augmentation} and candidate_augmentation "
            f"{config.candidate_augmentation}, so neither side is augmented. Add a feature of kind "
            "id (with a vocabulary) to either side or a history to the query's, or "
            f"{'set kind: plain' if is_dat else 'remove both keys'}."
        )
    return plans


def _plan(
    section: str,
    side: str,
    features: Sequence[specs.Feature],
    setting: str,
    segment: str | None,
) -> AugmentationPlan:
    identity = next(
        # Hashing would silently give an unseen id the vector of another id.
        (f for f in features if isinstance(f, specs.IdFeature) and f.hash_buckets is None),
        None,
    )
    history = next((f for f in features if isinstance(f, specs.HistoryFeature)), None)
    mode = setting
    if setting == "auto":
        mode = "learned" if identity else "history_mean" if history else "none"
    needed = {"learned": identity, "history_mean": history}
    if mode in needed and needed[mode] is None:
        what = {
            "learned": "feature of kind id (with a vocabulary, not hash_buckets)",
            "history_mean": "feature of kind history",
        }[mode]
        raise ConfigError(
            f"{section}.{side}_augmentation is {mode}, but {side}.features of the spec has no "
            f"{what}; found {_names(features)}. Add one, or set {side}_augmentation: auto."
        )
    if segment is not None and mode != "learned":
        raise ConfigError(
            f"{section}.{side}_segment is {segment!r}, but {side}_augmentation is {mode}; segments "
            f"are means of learned vectors. Remove it, or set {side}_augmentation: learned."
        )
    if mode == "learned":
        return AugmentationPlan(mode, identity, history, _segment(section, side, features, segment))
    return AugmentationPlan(mode, history=history if mode == "history_mean" else None)


def _segment(
    section: str, side: str, features: Sequence[specs.Feature], name: str | None
) -> specs.CategoricalFeature | None:
    if name is None:
        return None
    for feature in features:
        if feature.name == name and isinstance(feature, specs.CategoricalFeature):
            return feature
    raise ConfigError(
        f"{section}.{side}_segment is {name!r}, which is not a categorical feature of the {side}; "
        f"found {_names(f for f in features if isinstance(f, specs.CategoricalFeature))}. Name one "
        "of kind categorical."
    )


def _names(features: Iterable[specs.Feature]) -> str:
    return ", ".join(f"{feature.name} ({feature.kind})" for feature in features) or "none"
