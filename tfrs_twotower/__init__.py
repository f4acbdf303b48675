"""A two-tower retrieval stage for recommenders on the TensorFlow stack.

The names below are the library; `docs/library.md` shows them in use. Each is loaded when it is
first asked for, so importing this package loads no TensorFlow. It only chooses Keras 2 for
everything that is imported after it, because TensorFlow Recommenders refuses Keras 3 (see
`keras_api`).
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tfrs_twotower.config import (
        DatConfig,
        IndexConfig,
        IntTowerConfig,
        OptimizerConfig,
        PlainTowerConfig,
        RunConfig,
        load_run_config,
    )
    from tfrs_twotower.data.assets import Assets
    from tfrs_twotower.data.corpus import Corpus
    from tfrs_twotower.errors import TwoTowerError
    from tfrs_twotower.evaluation.embedding_evaluation import evaluate
    from tfrs_twotower.evaluation.evaluation_document import Figure
    from tfrs_twotower.features.learning import learn_assets
    from tfrs_twotower.index.build import build_index
    from tfrs_twotower.index.storage import Index, load_index, save_index
    from tfrs_twotower.index.top_k import ExactTopK, IvfTopK, ScannTopK
    from tfrs_twotower.losses.cross_batch_memory import CrossBatchMemory
    from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax, keep_hardest
    from tfrs_twotower.losses.list_losses import binary_cross_entropy, listwise_kl, margin_mse
    from tfrs_twotower.losses.masks import KnownPositives, accidental_hits
    from tfrs_twotower.losses.regularisers import (
        category_alignment,
        contrastive_interaction,
        mimic,
    )
    from tfrs_twotower.losses.sampling_probability import CountedFrequency, StreamingFrequency
    from tfrs_twotower.losses.softmax_variants import refined_softmax, same_tower_softmax
    from tfrs_twotower.specs import (
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
    from tfrs_twotower.tasks.list_task import PreRankingTask
    from tfrs_twotower.tasks.retrieval import RetrievalTask
    from tfrs_twotower.towers.build import build_towers
    from tfrs_twotower.towers.embedding import embed
    from tfrs_twotower.towers.protocol import TowerPair, TwoTowers
    from tfrs_twotower.towers.storage import load_towers, save_towers
    from tfrs_twotower.towers.tower import Towers
    from tfrs_twotower.training.in_batch_negatives import InBatchNegatives
    from tfrs_twotower.training.reports import TrainingResult
    from tfrs_twotower.training.train import train
    from tfrs_twotower.training.two_tower_model import TwoTowerModel

_MODULES = {
    "config": (
        "DatConfig IndexConfig IntTowerConfig OptimizerConfig PlainTowerConfig RunConfig "
        "load_run_config"
    ),
    "data.assets": "Assets",
    "data.corpus": "Corpus",
    "errors": "TwoTowerError",
    "evaluation.embedding_evaluation": "evaluate",
    "evaluation.evaluation_document": "Figure",
    "features.learning": "learn_assets",
    "index.build": "build_index",
    "index.storage": "Index load_index save_index",
    "index.top_k": "ExactTopK IvfTopK ScannTopK",
    "losses.cross_batch_memory": "CrossBatchMemory",
    "losses.in_batch_softmax": "in_batch_softmax keep_hardest",
    "losses.list_losses": "binary_cross_entropy listwise_kl margin_mse",
    "losses.masks": "KnownPositives accidental_hits",
    "losses.regularisers": "category_alignment contrastive_interaction mimic",
    "losses.sampling_probability": "CountedFrequency StreamingFrequency",
    "losses.softmax_variants": "refined_softmax same_tower_softmax",
    "specs": (
        "CategoricalFeature FeatureSpec HistoryFeature IdFeature MultiCategoricalFeature "
        "NumericFeature TextFeature TimestampFeature TowerFeatures declare_features load_spec"
    ),
    "tasks.list_task": "PreRankingTask",
    "tasks.retrieval": "RetrievalTask",
    "towers.build": "build_towers",
    "towers.embedding": "embed",
    "towers.protocol": "TowerPair TwoTowers",
    "towers.storage": "load_towers save_towers",
    "towers.tower": "Towers",
    "training.in_batch_negatives": "InBatchNegatives",
    "training.reports": "TrainingResult",
    "training.train": "train",
    "training.two_tower_model": "TwoTowerModel",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = [
    "Assets",
    "CategoricalFeature",
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
    "MultiCategoricalFeature",
    "NumericFeature",
    "OptimizerConfig",
    "PlainTowerConfig",
    "PreRankingTask",
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


def __getattr__(name: str) -> Any:
    """Loads a public name (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
