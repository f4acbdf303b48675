"""A member of the pre-ranker that sums up the history: EASE in the form that is served.

ease/
    architecture.json       feature spec, half-lives
    history_vectors.npy     [2 + vocabulary size, rank] float32, by token
    candidate_vectors.npy   [num_candidates, rank] float32, in row order
    vocabularies/  statistics.json
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from pydantic import ValidationError

from tfrs_twotower.artifacts import layout
from tfrs_twotower.data.assets import Assets, load_assets, write_assets
from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.features.lookup import VocabularyLookup
from tfrs_twotower.features.tower_inputs import Tokens, TowerInputs
from tfrs_twotower.layers.history_sum import HistorySum
from tfrs_twotower.specs import NUM_SPECIAL_ROWS, FeatureSpec
from tfrs_twotower.towers.storage import read_array


class LinearMember(tf.Module):
    """Scores a candidate's vector against the weighted sum of the history's vectors.

    Attributes:
        inputs: turns raw features into the tokens of the histories.
        half_lives: of EASE's scores, in events; None weighs all events alike.
        history: the query side.
        candidate_vectors: `[num_candidates, rank]`, in row order.
    """

    def __init__(
        self,
        inputs: TowerInputs,
        half_lives: Sequence[float | None],
        history_vectors: npt.NDArray[np.float32],
        candidate_vectors: npt.NDArray[np.float32],
    ) -> None:
        """Joins the parts; `history_vectors` are `[2 + vocabulary size, rank]`."""
        super().__init__(name="ease")
        self.inputs = inputs
        names = [feature.name for feature in inputs.features]
        self.half_lives = tuple(half_lives)
        self.history = HistorySum(names, half_lives, history_vectors)
        self.candidate_vectors = tf.Variable(candidate_vectors, trainable=False, name="candidates")

    @property
    def history_vectors(self) -> tf.Variable:
        """Those of the history."""
        return self.history.vectors

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the scores: `ease_all`, `ease_8` and so on."""
        lives = ("all" if life is None else f"{life:g}" for life in self.half_lives)
        return tuple(f"ease_{life}" for life in lives)

    def with_candidates(self, vectors: npt.NDArray[np.float32]) -> "LinearMember":
        """The same query side with other candidates' vectors."""
        history = self.history_vectors.numpy()
        return LinearMember(self.inputs, self.half_lives, history, vectors)

    def query_heads(self, raw: RawBatch) -> tf.Tensor:
        """Returns `[batch, num_half_lives, rank]` for raw query features."""
        return self.encode(self.inputs(raw))

    def encode(self, tokens: Tokens) -> tf.Tensor:
        """Returns `[batch, num_half_lives, rank]` for tokens of the histories."""
        return self.history(tokens)

    def scores(self, query_heads: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Returns `[batch, num_half_lives, n]` for candidates at rows `[batch, n]`, all >= 0."""
        vectors = tf.gather(self.candidate_vectors, rows)
        return tf.einsum("bhr,bnr->bhn", query_heads, vectors)


def history_inputs(spec: FeatureSpec, assets: Assets) -> TowerInputs:
    """Returns the inputs that turn the query's histories into tokens of candidate ids.

    Raises:
        MissingArtifact: the assets lack the vocabulary of the candidate ids.
    """
    name = vocabulary_of(spec)
    lookup = VocabularyLookup(assets.vocabulary(name), name)
    return TowerInputs("query", spec.histories, assets, {}, {}, lookup)


def save_history_side(
    facts: dict[str, Any], spec: FeatureSpec, assets: Assets, directory: Path
) -> None:
    """Writes the facts of a member that reads histories, and what `history_inputs` needs."""
    save_architecture(facts, spec, directory)
    name = vocabulary_of(spec)
    write_assets(Assets({name: assets.vocabulary(name)}, {}), directory)


def save_architecture(facts: dict[str, Any], spec: FeatureSpec, directory: Path) -> None:
    """Writes `architecture.json` of a member in closed form."""
    architecture = {"spec": spec.model_dump(mode="json"), **facts}
    text = json.dumps(architecture, indent=2, sort_keys=True, ensure_ascii=False)
    (directory / layout.ARCHITECTURE).write_text(text + "\n", encoding="utf-8")


def copy_history_side(source: Path, destination: Path) -> None:
    """Copies what `save_history_side` has written into another existing directory."""
    for name in (layout.ARCHITECTURE, layout.STATISTICS):
        shutil.copy2(source / name, destination / name)
    shutil.copytree(source / layout.VOCABULARIES, destination / layout.VOCABULARIES)


def save_linear_member(
    member: LinearMember, spec: FeatureSpec, assets: Assets, directory: Path
) -> None:
    """Writes everything that `load_linear_member` needs into an existing directory."""
    save_history_side({"half_lives": list(member.half_lives)}, spec, assets, directory)
    np.save(directory / layout.HISTORY_VECTORS, member.history_vectors.numpy(), allow_pickle=False)
    np.save(
        directory / layout.CANDIDATE_VECTORS, member.candidate_vectors.numpy(), allow_pickle=False
    )


def load_linear_member(directory: Path) -> LinearMember:
    """Rebuilds a saved member.

    Raises:
        MissingArtifact: a file is not there.
        CorruptArtifact: a file cannot be read, or the parts do not fit.
    """
    path = directory / layout.ARCHITECTURE
    with told_what_to_train(path):
        architecture = json.loads(path.read_text(encoding="utf-8"))
        spec = FeatureSpec.model_validate(architecture["spec"])
        half_lives = [None if life is None else float(life) for life in architecture["half_lives"]]
    assets = load_assets(directory)
    num_tokens = num_tokens_of(spec, assets)
    history = read_array(directory / layout.HISTORY_VECTORS, (num_tokens, None))
    candidates = read_array(directory / layout.CANDIDATE_VECTORS, (None, history.shape[1]))
    return LinearMember(history_inputs(spec, assets), half_lives, history, candidates)


@contextmanager
def told_what_to_train(place: Path) -> Iterator[None]:
    """Turns what goes wrong inside, while a member is read, into what a user can do about it.

    Args:
        place: what is read; the message about damage names it.

    Raises:
        MissingArtifact: a file is not there.
        CorruptArtifact: a file cannot be read, or the parts do not fit.
    """
    try:
        yield
    except FileNotFoundError as cause:
        raise MissingArtifact(
            f"{cause.filename}: is missing; train the pre-ranker first."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as cause:
        raise CorruptArtifact(f"{place}: cannot be read: {cause}. Train it again.") from cause


def num_tokens_of(spec: FeatureSpec, assets: Assets) -> int:
    """Number of the tokens that a history of this spec may hold."""
    return NUM_SPECIAL_ROWS + len(assets.vocabulary(vocabulary_of(spec)))


def vocabulary_of(spec: FeatureSpec) -> str:
    """Name of the vocabulary of the candidate ids, for a spec with histories."""
    feature = spec.candidate_id_feature
    assert feature is not None  # a spec with histories has one
    return feature.vocabulary_name
