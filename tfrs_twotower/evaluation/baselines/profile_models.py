"""The baselines that read a query's profile: neighbours, linear models, matrix factorisation.

Each function gives a `Method`: what is tuned, and how it is fitted on given interactions.
"""

import math
from collections.abc import Callable
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tfrs_twotower.closed_form import linear_models
from tfrs_twotower.closed_form.neighbours import cosine_neighbours
from tfrs_twotower.closed_form.neighbours import nearest as nearest_of
from tfrs_twotower.environment import require_extra
from tfrs_twotower.evaluation import budget, corpus_ranking
from tfrs_twotower.evaluation.baselines import collaborative, tuned_baselines
from tfrs_twotower.evaluation.baselines.setting_search import Axis, Grid, Setting

_MANY_CANDIDATES = 20_000
_MANY_INTERACTIONS = 300_000
_DEAR = {"most_tries": 6, "most_chosen": 2}
"""Limits of a search where one fit takes seconds."""
_DEAREST = {"most_tries": 4, "most_chosen": 2}
"""And where it takes more than that."""
_MANY_FACTORS = 32
_PRODUCTS_OF_A_SWEEP = 600_000_000
"""About three seconds of one iteration of iALS."""
_NEIGHBOUR_FITS = 4
"""For validation and for test, with positive interactions and with all."""
_PRODUCTS_PER_PAIR = 20
"""A counted and sorted pair takes as long as so many multiplications."""
_BYTES_PER_WEIGHT = 8
"""Of a sparse matrix: a float and the number of its column."""
_PRODUCTS_PER_INTERACTION = 12
"""Of conjugate gradients, for each factor: three steps with two products, from either side."""
_MOST_CACHED_NUMBERS = 200_000_000
_ITERATIONS = 15
_FEW_ITERATIONS = 8


def _scorer(
    model: collaborative.ProfileModel, half_life: float | None = None
) -> tuned_baselines.Fitted:
    def score(asked: tuned_baselines.Asked) -> corpus_ranking.Scorer:
        return collaborative.ProfileScorer(asked.positions, model, asked.fallback, half_life)

    return score


def neighbours_cost(
    choices: NDArray[np.int64], num_candidates: int, neighbours: float | tuple[float, ...]
) -> budget.Cost:
    """What item kNN takes at most.

    Args:
        choices: `[num_queries]` candidates that each query chose.
        num_candidates: size of the corpus.
        neighbours: the numbers of neighbours that are tried.
    """
    most = max(neighbours) if isinstance(neighbours, tuple) else neighbours
    pairs = float(np.square(choices, dtype=np.float64).sum())
    kept = min(pairs, num_candidates * most)
    return budget.Cost(_BYTES_PER_WEIGHT * kept, _NEIGHBOUR_FITS * _PRODUCTS_PER_PAIR * pairs)


def ials_cost(num_queries: int, num_candidates: int, num_interactions: int) -> budget.Cost:
    """What iALS takes where there are many interactions: conjugate gradients, three steps."""
    vectors = 4.0 * _MANY_FACTORS * (num_queries + num_candidates)
    fits = _DEAREST["most_tries"] + _DEAREST["most_chosen"]
    one = _FEW_ITERATIONS * _PRODUCTS_PER_INTERACTION * _MANY_FACTORS * num_interactions
    return budget.Cost(2 * vectors + 2 * _BYTES_PER_WEIGHT * num_interactions, 1.0 * fits * one)


def recent_popularity(days: float) -> tuned_baselines.Method:
    """Interactions of the last days; the number of days is tuned, from the given one on."""

    def learn(learned: tuned_baselines.LearnedFrom) -> tuned_baselines.Fit:
        def fit(setting: Setting) -> tuned_baselines.Fitted:
            popular = learned.popularity(days=setting[0])
            return lambda asked: popular

        return fit

    axis = Axis("days", (days / 4, days, days * 4), 2.0, days / 64, days * 64)
    return tuned_baselines.Method(Grid((axis,)), learn, positives_only=True)


def item_knn(neighbours: float | tuple[float, ...], num_candidates: int) -> tuned_baselines.Method:
    """Cosine neighbours of the profile (Sarwar et al. 2001); their number is tuned."""
    most = max(num_candidates - 1, 1)
    axis = Axis.given("neighbours", neighbours, lowest=1, highest=most)

    def learn(learned: tuned_baselines.LearnedFrom) -> tuned_baselines.Fit:
        known = _Neighbours(learned.matrix, int(axis.values[-1]))

        def fit(setting: Setting) -> tuned_baselines.Fitted:
            return partial(known.scorer, int(setting[0]))

        return fit

    return tuned_baselines.Method(
        Grid((axis,), **(_DEAR if num_candidates > _MANY_CANDIDATES else {})), learn
    )


class _Neighbours:
    """The neighbours of the candidates of some profiles, more of them when they are asked for."""

    def __init__(self, matrix: sparse.csr_matrix, number: int) -> None:
        self._matrix = matrix
        self._number = number
        self._rows: NDArray[np.integer] = np.zeros(0, np.int64)
        self._neighbours = cosine_neighbours(matrix, number, rows=self._rows)

    def scorer(self, number: int, asked: tuned_baselines.Asked) -> corpus_ranking.Scorer:
        rows = np.unique(asked.positions.indices)
        if number > self._number or not np.isin(rows, self._rows, assume_unique=True).all():
            self._number, self._rows = max(number, self._number), rows
            self._neighbours = cosine_neighbours(self._matrix, self._number, rows=rows)
        nearest = nearest_of(self._neighbours, number)
        return collaborative.NeighbourScorer(asked.positions, nearest, asked.fallback)


def linear(
    penalties: float | tuple[float, ...],
    matrix_order: int,
    *,
    dropouts: tuple[float, ...] = (0.0,),
    diagonals: tuple[float, ...] = (0.0,),
    half_lives: tuple[float, ...] = (),
) -> tuned_baselines.Method:
    """EASE and its kin; see `closed_form.linear_models`.

    Args:
        penalties: weights of the L2 penalty to start with, or one that stays.
        matrix_order: order of the matrix that is inverted; large ones limit the search.
        dropouts: p of EDLAE.
        diagonals: xi of RDLAE.
        half_lives: of a candidate's weight in the profile, in later candidates; none weighs all
            alike.
    """
    axes = [Axis.given("lambda", penalties, lowest=1e-3, highest=1e7)]
    if len(dropouts) > 1:
        axes.append(Axis("dropout", dropouts))
    if len(diagonals) > 1:
        axes.append(Axis("diagonal", diagonals))
    if half_lives:
        axes.append(Axis("half_life", half_lives, 2.0, 0.5, 2.0**16))
    grid = Grid(tuple(axes), **(_DEAREST if matrix_order > linear_models.SMALL_ORDER else {}))

    def learn(learned: tuned_baselines.LearnedFrom) -> tuned_baselines.Fit:
        solve = _cached(partial(linear_models.solve, learned.matrix), matrix_order)

        def fit(setting: Setting) -> tuned_baselines.Fitted:
            named = grid.named(setting)
            solved = solve(named["lambda"], named.get("dropout", dropouts[0]))
            model = solved.model(diagonal=named.get("diagonal", diagonals[0]))
            return _scorer(model, named.get("half_life"))

        return fit

    return tuned_baselines.Method(grid, learn)


def _cached(
    solve: Callable[..., linear_models.Solved], order: int
) -> Callable[[float, float], linear_models.Solved]:
    """Keeps the latest solutions, at least one."""
    kept: dict[tuple[float, float], linear_models.Solved] = {}

    def cached(l2: float, dropout: float) -> linear_models.Solved:
        key = l2, dropout
        if key not in kept:
            while len(kept) >= max(1, _MOST_CACHED_NUMBERS // max(order**2, 1)):
                del kept[next(iter(kept))]  # before the next one needs its memory
            kept[key] = solve(l2=l2, dropout=dropout)
        return kept[key]

    return cached


def most_factors(num_vectors: int) -> int:
    """The largest number of factors that iALS tries, a power of two from 64 to 512.

    An iteration multiplies the square of that number for each vector, of a query or a candidate.
    """
    affordable = math.sqrt(_PRODUCTS_OF_A_SWEEP / max(num_vectors, 1))
    return int(min(512, max(64, 2 ** math.floor(math.log2(affordable)))))


def ials(num_interactions: int, num_vectors: int) -> tuned_baselines.Method:
    """Factorisation of the implicit matrix by alternating least squares (Hu et al. 2008).

    The library `implicit` fits it. A profile's factors are computed from the profile, so a query
    need not be in the matrix.

    Raises:
        MissingExtra: the library is not installed.
    """
    require_extra("report", "implicit", needed_by="the baseline ials")
    from implicit.cpu.als import AlternatingLeastSquares

    many = num_interactions > _MANY_INTERACTIONS
    axes = (
        Axis("factors", (_MANY_FACTORS if many else 64,), 2.0, 4, most_factors(num_vectors)),
        Axis("regularization", (20.0,), 2.0, 1e-3, 1e5),
        Axis("alpha", (4.0,), 2.0, 1.0, 1e4),
    )
    grid = Grid(axes, **(_DEAREST if many else {}))

    def learn(learned: tuned_baselines.LearnedFrom) -> tuned_baselines.Fit:
        @cache
        def fit(setting: Setting) -> tuned_baselines.Fitted:
            with corpus_ranking.one_thread():  # the library has threads of its own
                factors = AlternatingLeastSquares(
                    **grid.named(setting),
                    iterations=_FEW_ITERATIONS if many else _ITERATIONS,
                    num_threads=0 if many else 1,  # threads wait busily for each other
                    random_state=0,
                )
                factors.fit(learned.matrix, show_progress=False)

            candidates = np.ascontiguousarray(factors.item_factors.T)  # as products read it

            def model(profiles: sparse.csr_matrix) -> np.ndarray:
                with corpus_ranking.one_thread():
                    own = factors.recalculate_user(np.arange(profiles.shape[0]), profiles)
                    return np.asarray(own @ candidates)

            return _scorer(model)

        return fit

    return tuned_baselines.Method(grid, learn)
