"""Linear autoencoders in closed form, solved in the space of the candidates or of the queries.

With the interactions X, G = X'X, a diagonal penalty L and P = (G + L)^-1, the scores of a profile
x are x B, where

    B = I - P diag(c),    c_j = max(L_jj, (1 - xi) / P_jj).

EASE (Steck 2019) has L = l2 I and xi = 0, which makes the diagonal of B 0. EDLAE (Steck 2020) drops
candidates of the profile with probability p: L = l2 I + p / (1 - p) diag(G). RDLAE (Moon et al.
2023) allows a diagonal of at most xi.

P has the order of the candidates. Where there are fewer queries, Woodbury's identity gives the same
numbers by a matrix of their order: with Y = X L^-1/2,

    P = L^-1/2 (I - Y' (I + Y Y')^-1 Y) L^-1/2.

A candidate that nobody chose has no weight to or from any other, so it is left out of either.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

from tfrs_twotower.errors import DataError

SMALL_ORDER = 4_000
"""Matrices up to this order are inverted in double precision; larger ones in single, which takes
half of the time and memory and changes scores in the fourth digit."""
_ONE_THREAD_ORDER = 10_000
"""Matrices up to this order are left to one thread, which inverts them in ten seconds. Threads of
BLAS wait for each other busily: beside other work two of them took nine times the CPU time."""
_BLOCK_NUMBERS = 1 << 24


def _threads_for(order: int) -> AbstractContextManager[object]:
    limited: AbstractContextManager[object] = threadpool_limits(
        1 if order <= _ONE_THREAD_ORDER else None, "blas"
    )
    return limited


def inverse_of(system: NDArray[Any], what: str) -> NDArray[Any]:
    """Inverts a symmetric positive definite matrix by its Cholesky factor.

    Args:
        system: `[order, order]` float32 or float64, column-major; it is overwritten.
        what: names the matrix and its remedy in the message.

    Raises:
        DataError: the matrix cannot be inverted.
    """
    single = system.dtype == np.float32
    factorise, invert = (lapack.spotrf, lapack.spotri) if single else (lapack.dpotrf, lapack.dpotri)
    with _threads_for(len(system)):
        factor, failed = factorise(system, lower=1, clean=1, overwrite_a=1)
        if not failed:
            factor, failed = invert(factor, lower=1, overwrite_c=1)
    if failed:
        raise DataError(
            f"{what} cannot be inverted (LAPACK returns {failed}); raise this L2 weight"
        )
    _mirror(factor)
    return factor


def _mirror(lower: NDArray[Any]) -> None:
    """Copies the lower triangle to the upper one, in blocks, so that no second matrix is needed."""
    step = 1_000
    for start in range(0, len(lower), step):
        rows = slice(start, start + step)
        square = np.tril(lower[rows, rows], -1)
        lower[rows, rows] = np.tril(lower[rows, rows]) + square.T
        lower[rows, start + step :] = lower[start + step :, rows].T


class Inverse(Protocol):
    """P of the candidates that somebody chose."""

    diagonal: NDArray[np.float64]
    """`[num_chosen]`."""

    def prepared(self, profiles: sparse.csr_matrix) -> NDArray[Any] | None:
        """What `after` needs of many profiles, where it is cheaper to make it at once."""

    def after(
        self, profiles: sparse.csr_matrix, prepared: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """The rows of a profile matrix `[num_profiles, num_chosen]` times P."""


class InverseOfCandidates:
    """P itself."""

    def __init__(self, chosen: sparse.csr_matrix, penalty: NDArray[np.float64]) -> None:
        gram = (chosen.T @ chosen).astype(_precision(chosen.shape[1]))
        system = np.asfortranarray(gram.toarray())
        system[np.diag_indices_from(system)] += penalty
        self._inverse = inverse_of(system, _name("X'X + L", penalty))
        self.diagonal = self._inverse.diagonal().astype(np.float64)

    def after(
        self, profiles: sparse.csr_matrix, prepared: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """See `Inverse`."""
        return np.asarray(profiles.astype(self._inverse.dtype) @ self._inverse.T)

    def prepared(self, profiles: sparse.csr_matrix) -> None:
        """Nothing is worth preparing."""


class InverseOfQueries:
    """P by way of (I + YY')^-1, which has the order of the queries."""

    def __init__(self, chosen: sparse.csr_matrix, penalty: NDArray[np.float64]) -> None:
        kind = _precision(chosen.shape[0])
        self._scale = (1.0 / np.sqrt(penalty)).astype(kind)
        scaled = chosen.astype(kind).multiply(self._scale[None, :]).tocsr()
        self._by_candidate = scaled.T.tocsr()
        order = scaled.shape[0]
        system = np.zeros((order, order), kind, order="F")
        for rows in _blocks(order, order):
            system[:, rows] = (scaled @ scaled[rows].T).toarray()
        system[np.diag_indices_from(system)] += 1
        self._inverse = inverse_of(system, _name("I + XX'/L", penalty)).T
        reached = np.empty(len(penalty))
        for rows in _blocks(len(penalty), order):
            own = self._by_candidate[rows]
            reached[rows] = np.asarray(own.multiply(own @ self._inverse).sum(axis=1)).ravel()
        self.diagonal = (1.0 - reached) / penalty

    def prepared(self, profiles: sparse.csr_matrix) -> NDArray[Any]:
        """The part of `after` that is one dense product, `[num_profiles, num_queries]`.

        It reads the whole inverse, so it is cheaper for many profiles at once.
        """
        own = profiles.astype(self._scale.dtype).multiply(self._scale[None, :]).tocsr()
        towards = (self._by_candidate.T @ own.T).T.toarray()
        with _threads_for(len(self._inverse)):
            return np.asarray(towards @ self._inverse)

    def after(
        self, profiles: sparse.csr_matrix, prepared: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """See `Inverse`; `prepared` is that of the same profiles, if it is known."""
        own = profiles.astype(self._scale.dtype).multiply(self._scale[None, :]).tocsr()
        towards = self.prepared(profiles) if prepared is None else prepared
        result = np.ascontiguousarray((self._by_candidate @ np.ascontiguousarray(towards.T)).T)
        np.negative(result, out=result)
        owners = np.repeat(np.arange(own.shape[0]), np.diff(own.indptr))
        result[owners, own.indices] += own.data
        result *= self._scale[None, :]
        return result


def _precision(order: int) -> Any:
    return np.float64 if order <= SMALL_ORDER else np.float32


def _name(matrix: str, penalty: NDArray[np.float64]) -> str:
    return f"a linear model: {matrix} with a penalty of {penalty.min():g} and more"


def _blocks(num_rows: int, width: int) -> list[slice]:
    size = max(1, _BLOCK_NUMBERS // max(width, 1))
    return [slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size)]


def _rows_in_use(chosen: sparse.csr_matrix) -> NDArray[np.int64]:
    return np.flatnonzero(np.diff(chosen.indptr))


def _columns_in_use(chosen: sparse.csr_matrix) -> NDArray[np.int64]:
    return np.flatnonzero(np.bincount(chosen.indices, minlength=chosen.shape[1]))


@dataclass(frozen=True)
class Solved:
    """P for one penalty, from which models with any limit of the diagonal follow.

    Attributes:
        num_candidates: size of the corpus.
        columns: `[num_chosen]` rows of the corpus that somebody chose.
        penalty: `[num_chosen]` the diagonal of L.
        inverse: P of these candidates.
    """

    num_candidates: int
    columns: NDArray[np.int64]
    penalty: NDArray[np.float64]
    inverse: Inverse

    def model(self, *, diagonal: float = 0.0) -> "LinearModel":
        """The model whose weight of a candidate for itself is at most `diagonal`, xi."""
        inverse = np.maximum(self.inverse.diagonal, np.finfo(np.float32).tiny)
        return LinearModel(self, np.maximum(self.penalty, (1.0 - diagonal) / inverse))


def solve(chosen: sparse.csr_matrix, *, l2: float, dropout: float = 0.0) -> Solved:
    """Computes P in the smaller of the two spaces.

    Args:
        chosen: `[num_queries, num_candidates]` of zeros and ones, X.
        l2: weight of the penalty, > 0.
        dropout: p of EDLAE, at least 0 and below 1.

    Raises:
        DataError: the matrix cannot be inverted.
    """
    columns = _columns_in_use(chosen)
    part = chosen[_rows_in_use(chosen)][:, columns].tocsr()
    counts = np.asarray(part.sum(axis=0), np.float64).ravel()
    penalty = l2 + dropout / (1.0 - dropout) * counts
    few_queries = part.shape[0] < part.shape[1]
    inverse = (InverseOfQueries if few_queries else InverseOfCandidates)(part, penalty)
    return Solved(chosen.shape[1], columns, penalty, inverse)


@dataclass(frozen=True)
class LinearModel:
    """B, as a function of profiles.

    Attributes:
        solved: P.
        scale: `[num_chosen]` c.
    """

    solved: Solved
    scale: NDArray[np.float64]

    def prepared(self, profiles: sparse.csr_matrix) -> NDArray[Any] | None:
        """What the scores of many profiles need, where it is cheaper to make it at once."""
        return self.solved.inverse.prepared(profiles[:, self.solved.columns].tocsr())

    def __call__(
        self, profiles: sparse.csr_matrix, prepared: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Scores x B of profiles.

        Args:
            profiles: `[num_profiles, num_candidates]`, weights of the candidates of a profile.
            prepared: rows of `prepared` of these profiles.

        Returns:
            `[num_profiles, num_candidates]` float32; 0 for a candidate that nobody chose.
        """
        part = profiles[:, self.solved.columns].tocsr()
        own = self.solved.inverse.after(part, prepared)
        own *= -self.scale[None, :].astype(own.dtype)
        owners = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
        own[owners, part.indices] += part.data
        if len(self.solved.columns) == self.solved.num_candidates:
            return own.astype(np.float32, copy=False)
        scores = np.zeros((part.shape[0], self.solved.num_candidates), np.float32)
        scores[:, self.solved.columns] = own
        return scores
