"""Where each artifact lies under the working directory, and the names of the files inside."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Paths under one `--workdir`, apart from artifacts that lie in a place of their own."""

    root: Path
    places: Mapping[str, Path] = field(default_factory=dict)
    """Directories of such artifacts by kind; an orchestrator gives each artifact its own."""

    def of(self, kind: str) -> Path:
        """The directory of the artifact of a kind."""
        return self.places.get(kind, self.root / kind)

    @property
    def preprocessed(self) -> Path:
        """Examples, corpus, vocabularies, statistics."""
        return self.of("preprocessed")

    @property
    def model(self) -> Path:
        """Trained towers."""
        return self.of("model")

    @property
    def embeddings(self) -> Path:
        """Embeddings of the corpus and of the evaluated queries."""
        return self.of("embeddings")

    @property
    def index(self) -> Path:
        """The candidate index and its measured quality."""
        return self.of("index")

    @property
    def negatives(self) -> Path:
        """The candidates that retrieval returns for the training examples."""
        return self.of("negatives")

    @property
    def pre_ranker(self) -> Path:
        """The second stage of the cascade."""
        return self.of("pre_ranker")

    @property
    def bundle(self) -> Path:
        """Bundles for TF Serving: `<name>/<version>/`."""
        return self.of("bundle")

    @property
    def report(self) -> Path:
        """The evaluation, as JSON and as a page."""
        return self.of("report")


def shard_of(key: str, num_shards: int) -> int:
    """The shard of a key: the CRC-32 of its UTF-8 bytes, modulo the number of shards."""
    return zlib.crc32(key.encode("utf-8")) % num_shards


TRAIN_GLOB = "train-*.arrow"
REFIT_GLOB = "fresh-*.arrow"
"""Examples of the validation window, which only a refit trains on."""
VALIDATION_GLOB = "validation-*.tfrecord.gz"
TEST_GLOB = "test-*.tfrecord.gz"
CORPUS_GLOB = "corpus-*.tfrecord.gz"
INTERACTIONS_GLOB = "interactions-*.parquet"
QUERIES_GLOB = "queries-*.parquet"
"""Every query as it stands after all its events; see `data.known_queries`."""
FREQUENCIES_GLOB = "frequencies-*.parquet"
VOCABULARIES = "vocabularies"
FRESH_IDS = "fresh_ids"
"""Ids that the validation window adds to each vocabulary, which only a refit knows."""
STATISTICS = "statistics.json"
QUARANTINE = "quarantine"
WEIGHTS = "weights.npz"
FIRST_FIT_WEIGHTS = "first_fit.npz"
FIRST_FIT_RECALL = "first_fit_recall.json"
ARCHITECTURE = "architecture.json"
TRAINING_LOG = "training_log.jsonl"
ROUNDS = "rounds"
"""Directory of the rounds of a training with mined negatives; each is a model of its own."""
ROUND_NEGATIVES = "negatives"
ROUND_RESULT = "result.json"
CANDIDATE_EMBEDDINGS_GLOB = "candidates-*.parquet"
VALIDATION_EMBEDDINGS_GLOB = "validation-*.parquet"
TEST_EMBEDDINGS_GLOB = "test-*.parquet"
PERTURBED_EMBEDDINGS = "perturbed-00000-of-00001.parquet"
FIRST_FIT_CANDIDATES, FIRST_FIT_VALIDATION = "first_fit_candidates", "first_fit_validation"
"""Embeddings by the towers of the first fit, for what is chosen on validation queries."""
CROSS_ENCODER = "cross_encoder"
"""The teacher of that name, beside the lists that it has scored; see `towers.cross_encoder`."""
COMBINATION = "combination.json"
MEMBER = "member-{number}"
CANDIDATE_HEADS = "candidate_heads.npy"
CANDIDATE_SIGNALS = "candidate_signals.npy"
EASE_MEMBER = "ease"
ITEM_KNN_MEMBER = "item_knn"
NEIGHBOURS = "neighbours.npz"
CANDIDATE_TOKENS = "candidate_tokens.npy"
HISTORY_VECTORS = "history_vectors.npy"
CANDIDATE_VECTORS = "candidate_vectors.npy"
TASTE_MEMBER = "tastes"
TASTE_VALUES = "values.npz"
CANDIDATE_VALUES = "candidate_values.npy"
BM25_MEMBER = "bm25"
HISTORY_TERMS = "history_terms.npy"
TEXT_ROWS = "text_rows.npy"
EVALUATION = "evaluation.json"
REPORT_PAGE = "index.html"
