"""Run configs: what to do. No TensorFlow."""

from tfrs_twotower.config.model import ModelConfig, PlainTowerConfig, TransformerConfig
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
    EarlyStoppingConfig,
    OptimizerConfig,
    SoftmaxConfig,
    TrainingConfig,
)

__all__ = [
    "DATA_VARIABLE",
    "BundleConfig",
    "EarlyStoppingConfig",
    "EmbedConfig",
    "EvaluateConfig",
    "ExportConfig",
    "IndexConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PlainTowerConfig",
    "PreprocessConfig",
    "RunConfig",
    "SoftmaxConfig",
    "TrainingConfig",
    "TransformerConfig",
    "data_root",
    "load_run_config",
    "spec_path",
]
