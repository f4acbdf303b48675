from .config import (
    ColbertConfig,
    ColdConfig,
    DatConfig,
    IndexConfig,
    IntTowerConfig,
    MolConfig,
    OptimizerConfig,
    PlainTowerConfig,
    RunConfig,
    load_run_config,
)
from .data.assets import Assets
from .data.corpus import Corpus
from .data.query_set import QuerySet
from .errors import TwoTowerError
from .evaluation.embedding_evaluation import evaluate
from .evaluation.evaluation_document import Figure
from .features.learning import learn_assets
from .index.build import build_index
from .index.storage import Index, load_index, save_index
from .index.top_k import ExactTopK, IvfTopK, ScannTopK
from .losses.in_batch_softmax import in_batch_softmax, keep_hardest
from .losses.list_losses import (
    binary_cross_entropy,
    category_alignment,
    contrastive_interaction,
    listwise_kl,
    margin_mse,
    mimic,
)
from .losses.negative_columns import CrossBatchMemory, KnownPositives, accidental_hits
from .losses.sampling_probability import CountedFrequency, StreamingFrequency
from .losses.softmax_variants import refined_softmax, same_tower_softmax
from .specs import (
    CategoricalFeature,
    FeatureSpec,
    HistoryFeature,
    IdFeature,
    MultiCategoricalFeature,
    NumericFeature,
    TextFeature,
    TimestampFeature,
    TowerFeatures,
    declare_features,
    load_spec,
)
from .tasks.retrieval import RetrievalTask
from .tasks.terms import PreRankingTask
from .towers.build import build_towers
from .towers.embedding import embed
from .towers.protocol import TowerPair, TwoTowers
from .towers.storage import load_towers, save_towers
from .towers.tower import Towers
from .training.in_batch_negatives import InBatchNegatives
from .training.reports import TrainingResult
from .training.train import train
from .training.two_tower_model import TwoTowerModel

__version__: str

__all__ = [
    "Assets",
    "CategoricalFeature",
    "ColbertConfig",
    "ColdConfig",
    "Corpus",
    "CountedFrequency",
    "CrossBatchMemory",
    "DatConfig",
    "ExactTopK",
    "FeatureSpec",
    "Figure",
    "HistoryFeature",
    "IdFeature",
    "InBatchNegatives",
    "Index",
    "IndexConfig",
    "IntTowerConfig",
    "IvfTopK",
    "KnownPositives",
    "MolConfig",
    "MultiCategoricalFeature",
    "NumericFeature",
    "OptimizerConfig",
    "PlainTowerConfig",
    "PreRankingTask",
    "QuerySet",
    "RetrievalTask",
    "RunConfig",
    "ScannTopK",
    "StreamingFrequency",
    "TextFeature",
    "TimestampFeature",
    "TowerFeatures",
    "TowerPair",
    "Towers",
    "TrainingResult",
    "TwoTowerError",
    "TwoTowerModel",
    "TwoTowers",
    "__version__",
    "accidental_hits",
    "binary_cross_entropy",
    "build_index",
    "build_towers",
    "category_alignment",
    "contrastive_interaction",
    "declare_features",
    "embed",
    "evaluate",
    "in_batch_softmax",
    "keep_hardest",
    "learn_assets",
    "listwise_kl",
    "load_index",
    "load_run_config",
    "load_spec",
    "load_towers",
    "margin_mse",
    "mimic",
    "refined_softmax",
    "same_tower_softmax",
    "save_index",
    "save_towers",
    "train",
]
