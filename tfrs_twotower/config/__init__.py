"""Run configs: what to do. No TensorFlow."""

from tfrs_twotower.config.model import (
    DatConfig,
    FieldsConfig,
    IntTowerConfig,
    ModelConfig,
    PlainTowerConfig,
    TransformerConfig,
)
from tfrs_twotower.config.run import (
    DATA_VARIABLE,
    RunConfig,
    data_root,
    load_run_config,
    spec_path,
)
from tfrs_twotower.config.stages import (
    BundleConfig,
    EmbedConfig,
    EvaluateConfig,
    ExportConfig,
    IndexConfig,
    PreprocessConfig,
)
from tfrs_twotower.config.training import (
    CategoryAlignmentConfig,
    ContrastiveInteractionConfig,
    DualConfig,
    EarlyStoppingConfig,
    InteractionConfig,
    MimicConfig,
    OptimizerConfig,
    SoftmaxConfig,
    TermsConfig,
    TrainingConfig,
)

__all__ = [
    "DATA_VARIABLE",
    "BundleConfig",
    "CategoryAlignmentConfig",
    "ContrastiveInteractionConfig",
    "DatConfig",
    "DualConfig",
    "EarlyStoppingConfig",
    "EmbedConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FieldsConfig",
    "IndexConfig",
    "IntTowerConfig",
    "InteractionConfig",
    "MimicConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PlainTowerConfig",
    "PreprocessConfig",
    "RunConfig",
    "SoftmaxConfig",
    "TermsConfig",
    "TrainingConfig",
    "TransformerConfig",
    "data_root",
    "load_run_config",
    "spec_path",
]
