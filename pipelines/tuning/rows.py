"""What a row of the tables of `twotower tune` is, and what decides whether it applies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tfrs_twotower import specs
from tfrs_twotower.config import RunConfig

Part = Literal["retrieval", "pre_ranking"]
"""The two parts of the search: the towers, and then the second stage behind the best towers."""


@dataclass(frozen=True)
class Facts:
    """What rows depend on: the feature spec, the run config as it is, and the data's sizes."""

    spec: specs.FeatureSpec
    config: RunConfig
    counts: Mapping[str, int]
    """Of the preprocessed artifact."""

    @property
    def histories(self) -> bool:
        """Whether queries have a history."""
        return bool(self.spec.histories)

    @property
    def content(self) -> bool:
        """Whether histories can know more of a candidate than its id."""
        own = [one for one in self.spec.candidate.features if one != self.spec.candidate_id_feature]
        return self.histories and any(getattr(one, "checkpoint", None) is None for one in own)

    @property
    def texts(self) -> bool:
        """Whether there is a text that the towers learn to read."""
        return any(
            isinstance(one, specs.TextFeature) and one.checkpoint is None for one in self._features
        )

    @property
    def bags(self) -> bool:
        """Whether there is a text that is read as a bag of tokens."""
        return any(
            isinstance(one, specs.TextFeature) and one.encoder == "bag" for one in self._features
        )

    @property
    def looked_up(self) -> bool:
        """Whether there are ids or categories, whose unknown row `id_dropout` trains."""
        kinds = (specs.IdFeature, specs.CategoricalFeature, specs.MultiCategoricalFeature)
        return any(isinstance(one, kinds) for one in self._features)

    @property
    def times(self) -> bool:
        """Whether interactions have a time."""
        return self.spec.interactions.timestamp is not None

    @property
    def plain(self) -> bool:
        """Whether the towers are plain, so that they may become those of DAT."""
        return self.config.model.kind == "plain"

    @property
    def trained(self) -> bool:
        """Whether anything is trained."""
        return self.config.training.epochs != 0

    @property
    def ease(self) -> bool:
        """Whether EASE can be a member: its matrix has the order of the corpus."""
        return self._known_histories and self.counts.get("candidates", 0) <= 20_000

    @property
    def categories(self) -> bool:
        """Whether candidates have values that a history can prefer."""
        return self._known_histories and bool(specs.taste_features(self.spec))

    @property
    def titles(self) -> bool:
        """Whether candidates have words that a history can prefer."""
        of_candidates = self.spec.candidate.features
        return self._known_histories and any(
            isinstance(one, specs.TextFeature) for one in of_candidates
        )

    @property
    def reads(self) -> bool:
        """Whether both sides have texts, so that words can be compared."""
        sides = (self.spec.query.features, self.spec.candidate.features)
        return all(any(isinstance(one, specs.TextFeature) for one in side) for side in sides)

    @property
    def _known_histories(self) -> bool:
        """Whether histories name candidates by tokens of their own."""
        identity = self.spec.candidate_id_feature
        return self.histories and identity is not None and identity.hash_buckets is None

    @property
    def _features(self) -> Sequence[object]:
        return (*self.spec.query.features, *self.spec.candidate.features)


def always(facts: Facts) -> bool:
    """Whether a row applies that needs nothing."""
    del facts
    return True


@dataclass(frozen=True)
class Setting:
    """One key of the run config that the search may change."""

    key: str
    """With dots, as for `--set`."""
    values: tuple[Any, ...]
    """What is tried: rising numbers, null at the end; or a list without an order."""
    reason: str
    """Why a change may help; it is written beside the changed line."""
    applies: Callable[[Facts], bool] = always
    only_with: tuple[str, Callable[[Any], bool]] | None = None
    """Another key, and whether this one means anything beside its value."""
    initial: int = 0
    """Position of the value that the run config has; filled in by `settings_for`."""

    @property
    def ordered(self) -> bool:
        """Whether neighbours in `values` are alike, so that the search may learn from them."""
        numbers = [one for one in self.values if one is not None]
        return all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers)

    @property
    def unchanged(self) -> Any:
        """The value that the run config has."""
        return self.values[self.initial]


@dataclass(frozen=True)
class Prior:
    """A combination that is often good, tried on top of the best found so far."""

    changes: Mapping[str, Any]
    reason: str
    applies: Callable[[Facts], bool] = field(default=always)
