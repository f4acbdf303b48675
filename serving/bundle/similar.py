"""The neighbours of a candidate, by the vectors that a bundle itself holds of its candidates."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from serving.bundle import integrity, versions
from serving.bundle.loading import read_titles
from serving.bundle.query import Answer, unknown_ids
from serving.bundle.refresh_files import RefreshFiles
from tfrs_twotower.data.ids import did_you_mean_id
from tfrs_twotower.errors import BundleError
from tfrs_twotower.ranking import FloatArray

_VECTORS = re.compile(r".*searcher(/exact)?/vectors/\.ATTRIBUTES/VARIABLE_VALUE")
_VARIABLES = Path("variables") / "variables"


def similar_candidates(
    bundle: Path, candidate_id: str, k: int | None = None, exclude: Sequence[str] = ()
) -> Answer:
    """The candidates whose vectors point most nearly where that of one candidate does.

    Scores are cosines, over the whole corpus, without an index. Where the towers normalise, which
    those of this package do, a cosine is the inner product that the bundle searches by. With
    `model.wide` the vectors are longer, and the cosine tells who is liked by the same queries and
    as popular, too.

    Args:
        bundle: directory of a bundle, of one of its versions, or the common name of its shards.
        candidate_id: the candidate, which is not in its own list.
        k: length of the list; by default the bundle's k.
        exclude: candidate ids to leave out.

    Returns:
        The list, best first, equal scores by id; `model_version` is that of the version.

    Raises:
        BundleError: there is no bundle or no such candidate, k is too large, or shards are of
            different versions.
        ArtifactError: a file does not match its checksum, or cannot be read.
    """
    titles: dict[str, str] = {}
    parts, stated, lengths = [], set(), []
    for shard in versions.find_shards(bundle):
        directory = versions.resolve_version(shard)
        manifest = integrity.verified_manifest(directory)
        titles |= read_titles(directory)
        parts.append(_vectors_of(directory))
        stated.add(str(manifest.details["model_version"]))
        lengths.append(int(manifest.counts["k"]))
    if len(stated) > 1:
        raise BundleError(
            f"{bundle}: its shards serve different versions: {', '.join(sorted(stated))}. Roll "
            "back to a version that all have, or export again."
        )
    ids = list(titles)
    if candidate_id not in titles:
        raise BundleError(
            f"{bundle}: {candidate_id} is not in the corpus{did_you_mean_id(candidate_id, ids)} of "
            f"{len(ids):,} candidates. Give an id of the candidates' table."
        )
    most = len(ids) - 1
    if k is not None and k > most:
        raise BundleError(
            f"{bundle}: k={k} was requested; the corpus has {most:,} other candidates. Ask for at "
            "most as many."
        )
    cosines = _cosines(np.concatenate(parts), ids.index(candidate_id))
    left_out = {candidate_id, *exclude}
    order = sorted(range(len(ids)), key=lambda row: (-cosines[row], ids[row]))
    best = [row for row in order if ids[row] not in left_out][: k or min(lengths)]
    return Answer(
        candidate_ids=[ids[row] for row in best],
        scores=[float(cosines[row]) for row in best],
        titles=[titles[ids[row]] for row in best],
        model_version=stated.pop(),
        warnings=unknown_ids(exclude, titles, "leaves nothing out"),
    )


def _vectors_of(version_dir: Path) -> FloatArray:
    """`[num_candidates, embedding_dim]` of a version, in the order of its titles.

    A version without `refresh/` has them only in its model, as float32 or in eight bits with a
    scale for each row, which a cosine does not need.
    """
    files = RefreshFiles(version_dir)
    if files.exist():
        return files.vectors()
    checkpoint = tf.train.load_checkpoint(str(version_dir / _VARIABLES))
    for name in sorted(checkpoint.get_variable_to_shape_map()):
        if _VECTORS.fullmatch(name):
            return np.asarray(checkpoint.get_tensor(name), np.float32)
    raise BundleError(
        f"{version_dir}: its model holds no vectors of candidates. Name a bundle that "
        "`twotower` or `serving.export_bundle` wrote."
    )


def _cosines(vectors: FloatArray, row: int) -> FloatArray:
    """Cosines `[num_candidates]` with the vector of a row; 0 where a vector has no direction."""
    lengths = np.linalg.norm(vectors, axis=1)
    products = np.where(lengths > 0, lengths, np.inf) * (lengths[row] or np.inf)
    cosines: FloatArray = (vectors @ vectors[row] / products).astype(np.float32)
    return cosines
