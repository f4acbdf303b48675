"""Builds the terms of the objective that a training config names."""

from collections.abc import Iterator

from tfrs_twotower.config import (
    AugmentedConfig,
    ColbertConfig,
    FittingConfig,
    HeadsConfig,
    InteractionConfig,
    MimicConfig,
    ModelConfig,
    PreRankingConfig,
    QueryReconstructionConfig,
)
from tfrs_twotower.layers.text_encoders import TextField
from tfrs_twotower.tasks import terms as term_kinds
from tfrs_twotower.tasks.multi_view import MultiViewTerm
from tfrs_twotower.tasks.objective import Term
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers.tower import Towers


def reconstruction_of(
    fitting: FittingConfig, model: ModelConfig
) -> QueryReconstructionConfig | None:
    """The section of the reconstruction: its defaults where towers have slots, None elsewhere."""
    if model.query_slots is None:
        return None
    return fitting.terms.query_reconstruction or QueryReconstructionConfig()


def build_retrieval_task(fitting: FittingConfig, model: ModelConfig) -> RetrievalTask:
    """Builds the retrieval task, the in-batch softmax; a reconstruction takes a share of it."""
    softmax, reconstruction = fitting.softmax, reconstruction_of(fitting, model)
    share = 1.0 if reconstruction is None else reconstruction.softmax_share
    return RetrievalTask(
        weight=share * softmax.weight,
        temperature=softmax.temperature,
        learn_temperature=softmax.learn_temperature,
        logq_strength=softmax.logq_strength,
        refined_logq=softmax.refined_logq,
        num_hard_negatives=softmax.num_hard_negatives,
        same_tower=softmax.same_tower,
        same_tower_weight=softmax.same_tower_weight,
    )


def build_terms(
    fitting: FittingConfig,
    model: ModelConfig,
    towers: Towers,
    retrieval: RetrievalTask,
    seed: int = 0,
) -> list[Term]:
    """Builds the terms besides the retrieval softmax; `seed` is of what they draw at random.

    Augmented sides get their mimic terms, towers with heads their interaction term, and towers with
    query slots the reconstruction of queries, with default weights if the config does not mention
    them.
    """
    config = fitting.terms
    terms: list[Term] = []
    if config.dual is not None:
        terms.append(term_kinds.DualTerm(config.dual.weight, retrieval))
    if config.matryoshka is not None:
        terms.append(term_kinds.MatryoshkaTerm(config.matryoshka, retrieval))
    if config.multi_view is not None:
        terms.append(MultiViewTerm(config.multi_view, retrieval, seed))
    if config.category_alignment is not None:
        terms.append(term_kinds.CategoryAlignmentTerm(config.category_alignment))
    reconstruction = reconstruction_of(fitting, model)
    if reconstruction is not None:
        terms.append(_reconstruction_term(reconstruction, towers))
    if isinstance(model, AugmentedConfig):
        terms.extend(_mimic_terms(config.mimic or MimicConfig(), towers))
    if isinstance(model, HeadsConfig | ColbertConfig):
        interaction = config.interaction or InteractionConfig()
        terms.append(
            term_kinds.InteractionTerm(
                interaction.weight, towers.scorer, fitting.softmax.logq_strength
            )
        )
        if config.contrastive_interaction is not None:
            terms.append(term_kinds.ContrastiveInteractionTerm(config.contrastive_interaction))
    return [term for term in terms if term.weight > 0.0]


def _reconstruction_term(config: QueryReconstructionConfig, towers: Towers) -> Term:
    fields = zip(towers.query.inputs.features, towers.query.fields, strict=True)
    texts = {feature.name: field for feature, field in fields if isinstance(field, TextField)}
    return term_kinds.QueryReconstructionTerm(config.weight, texts)


def _mimic_terms(config: MimicConfig, towers: Towers) -> Iterator[Term]:
    if towers.query.has_augmented:
        yield term_kinds.MimicTerm("query", config.query_weight)
    if towers.candidate.has_augmented:
        yield term_kinds.MimicTerm("candidate", config.candidate_weight)


def build_list_terms(config: PreRankingConfig) -> list[Term]:
    """Builds the terms over mined lists."""
    terms = config.list_terms
    weights: dict[term_kinds.ListLoss, float] = {
        "list_softmax": terms.list_softmax,
        "pointwise": terms.pointwise,
        "listwise_kl": terms.listwise_kl,
        "margin_mse": terms.margin_mse,
    }
    return [
        term_kinds.PreRankingTask(
            kind, weight=weight, teacher_temperature=terms.teacher_temperature
        )
        for kind, weight in weights.items()
        if weight > 0.0
    ]
