"""What the artifact of each stage depends on besides its parents, as a hash; no TensorFlow here.

A run asks these before it loads a stage, so that a run without anything to do answers at once.
Local tables are hashed once: what was hashed is remembered in the working directory with the size,
the inode and the times of the file, as Git's index does. A file that changed within the last two
seconds is not remembered, because a second change might not show in its times.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.stages.context import StageContext
from tfrs_twotower.artifacts import fingerprint, sha256_file
from tfrs_twotower.artifacts.manifest import Kind
from tfrs_twotower.config import BundleConfig, has_cross_encoder, pre_ranking_of, searches_words
from tfrs_twotower.documents import user_path
from tfrs_twotower.errors import BundleError
from tfrs_twotower.specs import TextFeature
from tfrs_twotower.tables.files import find_local_files

HASHED = ".hashed.json"
"""Name of the file in the working directory that remembers hashes of tables."""
_EMBEDDED = "with perturbed queries, and the first fit where texts meet"
_YOUNG_NS = 2_000_000_000
_TABLES = ("interactions", "candidates", "queries")


def preprocess(context: StageContext) -> str:
    """Hash of `preprocess` in the run config, of the tables' files and of given vocabularies.

    A local file is identified by its content, a remote one by its path, size and time of change.

    Raises:
        DataError: a table's file cannot be found.
    """
    hashed = HashedFiles(context.layout.root)
    files = [hashed.identity(path) for paths in table_files(context).values() for path in paths]
    files.extend(sha256_file(path) for path in vocabulary_files(context).values())
    hashed.save()
    config = context.config.preprocess.model_dump(mode="json")
    return fingerprint({"preprocess": config, "files": files})


def table_files(context: StageContext) -> dict[str, tuple[str, ...]]:
    """The files of each table of the spec, sorted by name.

    Raises:
        DataError: a table has none.
    """
    return {
        name: _files_of(name, table.path, context.data_root)
        for name in _TABLES
        if (table := getattr(context.spec, name)) is not None
    }


def _files_of(table: str, pattern: str, data_root: Path) -> tuple[str, ...]:
    paths = () if "://" in pattern else find_local_files(data_root, pattern)
    if paths:
        return paths
    from pipelines.transforms.table_sources import find_files

    return find_files(table, pattern, data_root)


def vocabulary_files(context: StageContext) -> dict[str, Path]:
    """The given lists of WordPieces, by vocabulary."""
    spec = context.spec
    return {
        feature.vocabulary_name: user_path(feature.given_vocabulary, context.data_root)
        for feature in (*spec.query.features, *spec.candidate.features)
        if isinstance(feature, TextFeature) and feature.given_vocabulary is not None
    }


class HashedFiles:
    """SHA-256 of files; those of unchanged files are remembered between runs."""

    def __init__(self, root: Path) -> None:
        """Reads what the working directory remembers; a damaged memory is an empty one."""
        self._path = root / HASHED
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
            self._known: dict[str, list[object]] = known if isinstance(known, dict) else {}
        except (OSError, ValueError):
            self._known = {}
        self._seen: dict[str, list[object]] = {}

    def identity(self, path: str) -> str:
        """Identifies a file's content: its SHA-256; for a remote file its path, size and time."""
        if "://" in path:
            from apache_beam.io.filesystems import FileSystems

            metadata = FileSystems.match([path])[0].metadata_list[0]
            return f"{path} {metadata.size_in_bytes} {metadata.last_updated_in_seconds}"
        path = os.path.abspath(path)
        found = os.stat(path)
        state = [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]
        remembered = self._known.get(path, [])
        known = remembered[1:] == state
        digest = str(remembered[0]) if known else sha256_file(Path(path))
        if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > _YOUNG_NS:
            self._seen[path] = [digest, *state]
        return digest

    def save(self) -> None:
        """Remembers the files that were asked for; without it the next run only takes longer."""
        if self._seen == self._known or not self._path.parent.is_dir():
            return
        partial_path = self._path.with_name(f"{HASHED}.writing")
        try:
            partial_path.write_text(json.dumps(self._seen) + "\n", encoding="utf-8")
            partial_path.replace(self._path)
        except OSError:
            pass


def train(context: StageContext) -> str:
    """Hash of the config sections that training reads, and of pretrained weights."""
    config, spec = context.config, context.spec
    unset = {"ance"} if config.training.ance is None else set()
    settings = {
        "seed": config.seed,
        "model": config.model.model_dump(mode="json"),
        "training": config.training.model_dump(mode="json", exclude=unset),
    }
    if config.training.ance is not None:
        settings |= {"k1": config.evaluate.bm25_k1, "b": config.evaluate.bm25_b}
    features = (*spec.query.features, *spec.candidate.features)
    if any(isinstance(feature, TextFeature) and feature.checkpoint for feature in features):
        settings["checkpoints"] = _pretrained_weights(context)
    return fingerprint(settings)


def _pretrained_weights(context: StageContext) -> list[str]:
    from tfrs_twotower.layers.checkpoint import checkpoint_files

    return [sha256_file(path) for path in checkpoint_files(context.spec, context.data_root)]


def embed(context: StageContext) -> str:
    """Hash of the settings that the stage reads, and of what it writes."""
    settings = context.config.embed.model_dump(mode="json", exclude_none=True)
    return fingerprint({"embed": settings, "output": _EMBEDDED})


def build_index(context: StageContext) -> str:
    """Hash of the settings that the stage reads."""
    unread = set() if searches_words(context.config) else {"lexical"}
    return fingerprint({"index": context.config.index.model_dump(mode="json", exclude=unread)})


def mine(context: StageContext) -> str:
    """Hash of the settings that the stage reads."""
    config = context.config
    mining = pre_ranking_of(config).mining
    by_cross_encoder = mining.teacher == "cross_encoder"
    unread = set() if by_cross_encoder else {"cross_encoder"}
    settings: dict[str, object] = {
        "mining": mining.model_dump(mode="json", exclude=unread),
        "refit": config.training.refit,
    }
    if by_cross_encoder:
        settings |= {"seed": config.seed, "deterministic": pre_ranking_of(config).deterministic}
        if mining.cross_encoder.encoder == "pretrained":
            settings["checkpoints"] = _pretrained_weights(context)
    if mining.teacher == "bm25":
        settings |= {"k1": config.evaluate.bm25_k1, "b": config.evaluate.bm25_b}
    if searches_words(config):
        settings["words"] = True
    if config.embed.width is not None:
        settings["width"] = config.embed.width
    return fingerprint(settings)


def train_pre_ranker(context: StageContext) -> str:
    """Hash of the config sections that the training reads."""
    config = context.config
    settings = {
        "seed": config.seed,
        # The negatives, its parent, depend on it.
        "pre_ranking": pre_ranking_of(config).model_dump(
            mode="json", exclude={"mining": {"cross_encoder"}}
        ),
        "time_decay_half_life_days": config.training.time_decay_half_life_days,
        "refit": config.training.refit,
    }
    if searches_words(config):
        settings["words"] = True
    if config.embed.width is not None:
        settings["width"] = config.embed.width
    return fingerprint(settings)


def export(context: StageContext) -> str:
    """Hash of the settings that the stage reads."""
    bundles = [bundle.model_dump(mode="json") for bundle in bundle_configs(context)]
    # The answer of one day to what becomes of refreshed candidates makes no bundle outdated.
    settings = context.config.export.model_dump(mode="json", exclude={"refreshed"})
    return fingerprint(
        {
            "export": {**settings, "bundles": bundles},
            "pre_ranking": context.config.pre_ranking is not None,
        }
    )


def bundle_configs(context: StageContext) -> tuple[BundleConfig, ...]:
    """The bundles to write: those of the config, by default one with the name of the run.

    Raises:
        BundleError: two bundles have the same name.
    """
    config = context.config
    bundles = config.export.bundles or (BundleConfig(name=config.name),)
    names = [bundle.name for bundle in bundles]
    if len(set(names)) != len(names):
        raise BundleError(
            f"export.bundles: found the names {', '.join(names)}; each must be different."
        )
    return bundles


def evaluate(context: StageContext) -> str:
    """Hash of the settings that the stage reads."""
    config = context.config
    return fingerprint(
        {
            "evaluate": config.evaluate.model_dump(mode="json"),
            "seed": config.seed,
            "refit": config.training.refit,
            "recent_days": config.preprocess.recent_days,
            "index_k": config.index.k,
            "pre_ranking": config.pre_ranking is not None,
            **({"cross_encoder": True} if has_cross_encoder(config) else {}),
        }
    )


OF: dict[Kind, Callable[[StageContext], str]] = {
    "preprocessed": preprocess,
    "model": train,
    "embeddings": embed,
    "index": build_index,
    "negatives": mine,
    "pre_ranker": train_pre_ranker,
    "bundle": export,
    "report": evaluate,
}
"""The function for each kind of artifact."""
