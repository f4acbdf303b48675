"""Training section of a run config."""

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from tfrs_twotower.config import ance_config
from tfrs_twotower.config.terms_config import TermsConfig
from tfrs_twotower.documents import Document


class OptimizerConfig(Document):
    """The optimiser of the weights."""

    kind: Literal["adamw", "adagrad"] = "adamw"
    """AdamW, or Adagrad (sparse-friendly, the choice of Yi et al. 2019)."""
    learning_rate: PositiveFloat = 0.003
    """Peak rate after warm-up."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled decay of dense kernels and tables (AdamW only; never of biases, temperature)."""
    warmup_steps: NonNegativeInt = 100
    """Steps of linear warm-up."""
    decay: Literal["none", "cosine"] = "none"
    """`cosine` falls to zero at the last planned step."""
    clip_norm: PositiveFloat | None = 1.0
    """Clips the global norm of the gradient."""


class SoftmaxConfig(Document):
    """In-batch softmax with logQ correction (Yi et al., RecSys 2019)."""

    weight: NonNegativeFloat = 1.0
    """Weight of the term. 0 leaves the retrieval head untrained; only a pre-ranker can do without
    it."""
    temperature: Annotated[float, Field(ge=0.01, le=10.0)] = 0.1
    """Divisor of the cosine scores (the starting value if it is learned)."""
    learn_temperature: bool = False
    """Learns log(temperature), clipped at 0.01."""
    logq: Literal["counted", "streaming", "none"] = "counted"
    """Where a candidate's sampling probability comes from: counts of the training window, Yi's
    streaming estimate, or no correction."""
    logq_strength: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """Multiplier of log q; 1 is the unbiased correction."""
    num_uniform_negatives: NonNegativeInt = 0
    """Mixed negative sampling: candidates drawn uniformly from the corpus for each batch."""
    refined_logq: bool = False
    """Leaves the positive out of the correction, and weights each example by how wrong the model
    still is on it (Khrylchenko et al., RecSys 2025)."""
    num_hard_negatives: PositiveInt | None = None
    """Keeps only this many negatives of each query: those with the largest logits."""
    cross_batch_memory: NonNegativeInt = 0
    """Number of candidates of earlier batches that serve as additional negatives, with the
    embeddings that they had then (Wang et al., CVPR 2020)."""
    same_tower: Literal["none", "query", "both"] = "none"
    """SamToNe (Moiseev et al., ACL Findings 2023): other queries of the batch are additional
    negatives of a query; `both` adds the same for candidates."""
    same_tower_weight: PositiveFloat = 1.0
    """Multiplies the same-tower part of the denominator. With logQ the part of the candidates
    estimates the whole corpus; a weight of about corpus size / batch size restores the balance of
    the paper."""
    mask_other_positives: bool = True
    """Hides the query's other training positives from its negatives."""


ValidationMetric = Annotated[str, Field(pattern=r"^(recall|hit_rate|ndcg|mrr)@[1-9][0-9]*$")]


class EarlyStoppingConfig(Document):
    """Keeps the weights that are best on validation, and stops when they stop improving."""

    metric: ValidationMetric = "recall@100"
    """Validation metric, over the full corpus."""
    further_metrics: tuple[ValidationMetric, ...] = ()
    """Metrics that are measured beside it and decide nothing: for the log, and for `twotower tune`,
    which weighs several."""
    patience: PositiveInt = 3
    """Evaluations without improvement before training stops."""
    max_queries: PositiveInt = 10_000
    """Evaluates at most this many validation queries (a fixed sample)."""


class PseudoQuestionsConfig(Document):
    """A warm-up on random spans of the candidates' texts, which their candidates answer."""

    per_candidate: PositiveInt = 4
    """Spans of each candidate, drawn from its text features in turn."""
    words: tuple[PositiveInt, PositiveInt] = (4, 12)
    """Least and most words of a span; a shorter text is taken whole."""
    epochs: PositiveInt = 2
    """Passes over the spans."""

    @model_validator(mode="after")
    def _ordered(self) -> "PseudoQuestionsConfig":
        least, most = self.words
        if least > most:
            raise ValueError(
                f"words: found [{least}, {most}], the least number above the most. Swap them."
            )
        return self


class FittingConfig(Document):
    """Settings of every training: batches, steps, the optimiser, when to stop."""

    batch_size: Annotated[int, Field(ge=2)] = 1024
    """Global batch: positives in one step, over all replicas."""
    epochs: PositiveInt | None = 20
    """Passes over the training examples, at most. Exclusive with max_steps."""
    max_steps: PositiveInt | None = None
    """Optimiser updates, at most. Exclusive with epochs (set `epochs: null`)."""
    evaluate_every_epochs: PositiveFloat = 1.0
    """How often validation is measured, in epochs."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """The optimiser of the weights."""
    softmax: SoftmaxConfig = SoftmaxConfig()
    """The retrieval objective."""
    terms: TermsConfig = TermsConfig()
    """Terms of the objective beside the retrieval softmax."""
    early_stopping: EarlyStoppingConfig | None = EarlyStoppingConfig()
    """When to stop early; null trains to the end and keeps what is there then."""
    average_weights: bool = True
    """Measures and keeps the mean of the weights over the later part of the training so far, in
    the refit too, and not the weights of one step: less depends on which evaluation was the
    luckiest, and the mean is usually better than each of them. The mean follows the weights with a
    delay, so that the best epoch may be a later one."""
    cached_chunks: PositiveInt = 1
    """Chunks in which a batch is embedded (gradient caching: Gao et al. 2021). Gradients are those
    of the undivided batch, memory for the towers is that of one chunk, and a step takes about half
    as long again: for batches whose texts do not fit into memory. 1 divides nothing."""
    checkpoint_every_steps: PositiveInt = 200
    """Steps between checkpoints, from which a killed training resumes."""
    shuffle_buffer: PositiveInt = 1_000_000
    """Largest number of examples that are shuffled together; no more of the order is in memory."""
    replicas: PositiveInt = 1
    """Replicas of a MirroredStrategy in one process; negatives are shared across them. Processes of
    `TF_CONFIG` have one each."""
    deterministic: bool = True
    """Bit-for-bit repeatable under the seed (TensorFlow's op determinism)."""

    @property
    def further_metrics(self) -> tuple[str, ...]:
        """The metrics that are measured on validation and decide nothing."""
        return self.early_stopping.further_metrics if self.early_stopping else ()


class TrainingConfig(FittingConfig):
    """How the towers are trained."""

    epochs: NonNegativeInt | None = 20
    """Passes over the training examples, at most. Exclusive with max_steps. 0 trains on none of
    them: the towers rank as their texts do, by pretrained encoders (zero-shot) or by token tables
    from the corpus (`model.token_table: svd`)."""
    pseudo_questions: PseudoQuestionsConfig | None = None
    """A warm-up on spans of the candidates' texts, for texts with few training questions; null
    leaves it out."""
    ance: ance_config.AnceConfig | None = None
    """Rounds of training with mined negatives; null leaves them out."""
    time_decay_half_life_days: PositiveFloat | None = None
    """Weights an example by 2^(-age / half-life), with the age at the end of the training window,
    so that the model learns recent demand."""
    refit: bool = False
    """After early stopping, trains again from the start on train and validation examples together
    for the best number of epochs."""
