"""Fits what is linear in a history on the examples of a window: EASE, tastes, neighbours."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tfrs_twotower.closed_form import ease
from tfrs_twotower.closed_form.neighbours import cosine_neighbours
from tfrs_twotower.config import ItemKnnMemberConfig, LinearModelConfig, PreRankingConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.training_examples import ExampleTable, Tokens
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features.lookup import by_token, row_of_token
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers.item_knn_member import ItemKnnMember, neighbours_by_token
from tfrs_twotower.towers.linear_member import LinearMember, history_inputs
from tfrs_twotower.towers.tastes import fit_tastes
from tfrs_twotower.training.taste_values import taste_values

AllPairs = Callable[[], tuple[NDArray[np.integer], NDArray[np.integer]]]
"""Reads the query and the candidate of every event of a window, `[num_events]` each."""
_FOLLOWED = 5
"""Events before a choice that count as followed by it."""
_CHUNK = 1 << 16


def linear_factors(
    config: LinearModelConfig,
    kind: str,
    rank: int,
    chosen: sparse.csr_matrix,
    *,
    section: str,
) -> ease.LinearFactors:
    """Fits EASE or RDLAE on pairs of queries and candidates.

    Args:
        config: penalty and limits.
        kind: `ease`, `rdlae` or `truncated`.
        rank: dimension of the vectors.
        chosen: `chosen_pairs` of the window that may be learned from.
        section: of the config, for the message.

    Raises:
        ConfigError: the corpus is too large.
        DataError: the matrix cannot be inverted.
    """
    if kind == "truncated":
        return ease.truncated_factors(chosen, l2=config.l2, rank=rank)
    num_candidates = chosen.shape[1]
    if num_candidates > config.max_candidates:
        raise ConfigError(
            f"{section}: the corpus has {num_candidates:,} candidates, more than "
            f"{section}.max_candidates {config.max_candidates:,}: {kind.upper()} inverts a matrix "
            "of that order. Raise the limit, or set kind: truncated."
        )
    is_rdlae = kind == "rdlae"
    return ease.ease_factors(
        chosen,
        l2=config.l2,
        rank=rank,
        dropout=config.dropout if is_rdlae else 0.0,
        diagonal=config.diagonal if is_rdlae else 0.0,
    )


def chosen_pairs(
    config: LinearModelConfig | ItemKnnMemberConfig,
    table: ExampleTable,
    num_candidates: int,
    all_pairs: AllPairs | None = None,
) -> sparse.csr_matrix:
    """`[num_queries, num_candidates]` of zeros and ones; repeats count once.

    Args:
        config: says whether only the positive events count.
        table: the examples of the window that may be learned from: its positive events.
        num_candidates: size of the corpus.
        all_pairs: gives the pairs of all events of this window, for a config that asks for them.
    """
    if config.events == "all" and all_pairs is not None:
        queries, candidates = all_pairs()
        size = int(queries.max(initial=-1)) + 1
        return ease.binary_matrix(queries, candidates, size, num_candidates)
    return ease.binary_matrix(
        table.query_rows, table.candidate_rows, len(table.query_ids), num_candidates
    )


def fit_linear_member(
    spec: FeatureSpec,
    pre_ranking: PreRankingConfig,
    assets: Assets,
    corpus: Corpus,
    table: ExampleTable,
    all_pairs: AllPairs | None = None,
) -> LinearMember | None:
    """Fits EASE (or RDLAE) and tastes on the pairs of queries and candidates in the examples.

    Args:
        spec: the feature spec; it must have a history.
        pre_ranking: what is fitted, and how.
        assets: the vocabularies of the candidates' ids and features.
        corpus: the candidates.
        table: the examples of the window that may be learned from; repeats count once for EASE.
        all_pairs: see `chosen_pairs`.

    Returns:
        The member, or None if neither is one.

    Raises:
        ConfigError: the corpus is too large for EASE.
        DataError: the matrix cannot be inverted.
    """
    history = candidates = np.zeros((len(corpus), 0), np.float32)
    half_lives: tuple[float | None, ...] = ()
    if pre_ranking.ease is not None:
        config = pre_ranking.ease
        chosen = chosen_pairs(config, table, len(corpus), all_pairs)
        history, candidates = linear_factors(
            config, config.kind, config.rank, chosen, section="pre_ranking.ease"
        )
        half_lives = config.half_lives
    tastes = None
    of_tastes = pre_ranking.tastes
    found = taste_values(spec, of_tastes, assets, corpus) if of_tastes is not None else []
    if of_tastes is not None and found:
        tastes, values = fit_tastes(
            found,
            table.candidate_rows,
            strength=of_tastes.strength,
            scale=float(np.abs(candidates).max(initial=0.0)) or 1.0,
        )
        history = np.concatenate([history, values], axis=1)
        candidates = np.concatenate([candidates, values], axis=1)
    if not half_lives and tastes is None:
        return None
    of_tokens = by_token(history, row_of_token(spec, assets, corpus))
    return LinearMember(history_inputs(spec, assets), half_lives, of_tokens, candidates, tastes)


def latest(histories: Tokens) -> NDArray[np.int32]:
    """`[num_examples, at most _FOLLOWED]` the most recent events of the histories of a table."""
    starts = range(0, len(histories), _CHUNK)
    return np.concatenate([histories[at : at + _CHUNK][:, :_FOLLOWED] for at in starts])


def next_choices(
    histories: Sequence[NDArray[np.int32]],
    chosen_rows: NDArray[np.integer],
    row_of_token: NDArray[np.int32],
    num_candidates: int,
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """What was chosen, and what had been chosen last before it.

    Args:
        histories: tokens `[num_examples, width]` of each history, the most recent event first.
        chosen_rows: `[num_examples]` rows of the corpus.
        row_of_token: `[2 + vocabulary size]` rows of the corpus, -1 for none.
        num_candidates: size of the corpus.

    Returns:
        `[num_examples, num_candidates]` both: ones, and 2^-p for the event at place p of a history,
        of which the first `_FOLLOWED` count.
    """
    size = len(chosen_rows)
    shape = (size, num_candidates)
    ones = np.ones(size, np.float32)
    chosen = sparse.csr_matrix((ones, (np.arange(size), chosen_rows)), shape=shape)
    parts = [row_of_token[history[:, :_FOLLOWED]] for history in histories]
    latest = np.concatenate(parts, axis=1)
    ages = np.concatenate([np.arange(part.shape[1]) for part in parts])
    example, place = np.nonzero(latest >= 0)
    weights = (0.5 ** ages[place]).astype(np.float32)
    rows = latest[example, place]
    before = sparse.csr_matrix((weights, (example, rows)), shape=shape)
    return chosen, before


def fit_item_knn_member(
    spec: FeatureSpec,
    config: ItemKnnMemberConfig,
    assets: Assets,
    corpus: Corpus,
    table: ExampleTable,
    all_pairs: AllPairs | None = None,
) -> ItemKnnMember:
    """Finds the neighbours of every candidate, by the events of a window; see `chosen_pairs`."""
    number = min(config.neighbours, max(1, len(corpus) - 1))
    rows = row_of_token(spec, assets, corpus)
    matrix, before = chosen_pairs(config, table, len(corpus), all_pairs), None
    if config.pairs == "next":
        histories = [latest(table.tokens[feature.name]) for feature in spec.histories]
        matrix, before = next_choices(histories, table.candidate_rows, rows, len(corpus))
    similar = cosine_neighbours(matrix, number, shrink=config.shrink, before=before)
    return ItemKnnMember(
        history_inputs(spec, assets),
        config.last,
        config.half_lives,
        *neighbours_by_token(similar, rows, number),
    )
