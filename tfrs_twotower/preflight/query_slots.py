"""Checks what query slots need: texts on both sides, and towers that pass their states on."""

from collections.abc import Iterator

from tfrs_twotower import specs
from tfrs_twotower.config import HeadsConfig, ModelConfig, RunConfig


def check_query_slots(spec: specs.FeatureSpec, config: RunConfig) -> Iterator[str]:
    """Yields mistakes of query slots, of their term, and of the layers over queries' texts."""
    yield from _check_query_layers(spec, "model", config.model)
    if config.pre_ranking is not None:
        for number, member in enumerate(config.pre_ranking.models):
            section = f"pre_ranking.models.{number}"
            yield from _check_query_layers(spec, section, member)
            if member.query_slots is not None:
                yield (
                    f"{section}.query_slots is set, but a member compares heads with the query "
                    "itself. Remove the key; it belongs to the section model."
                )
        if config.pre_ranking.terms.query_reconstruction is not None:
            yield (
                "pre_ranking.terms.query_reconstruction is set, but members have no query slots. "
                "Move it to training.terms."
            )
    if config.model.query_slots is not None:
        yield from _check_slots(spec, config, config.model.query_slots.num_slots)
    elif config.training.terms.query_reconstruction is not None:
        yield (
            "training.terms.query_reconstruction is set, but model.query_slots is not: there are "
            "no slots that could predict a query. Set model.query_slots: {}, or remove the term."
        )


def _check_query_layers(spec: specs.FeatureSpec, section: str, model: ModelConfig) -> Iterator[str]:
    if model.query_transformer_layers is None:
        return
    if not any(text.encoder == "transformer" for text in _texts(spec.query)):
        yield (
            f"{section}.query_transformer_layers is {model.query_transformer_layers}, but the spec "
            f"'{spec.name}' has no text feature with encoder: transformer in query.features. "
            "Remove the key, or set the encoder of one."
        )
    if model.text_sharing == "siamese":
        yield (
            f"{section}.query_transformer_layers is {model.query_transformer_layers}, but "
            f"{section}.text_sharing is siamese: both sides have the same layers. Remove one key."
        )


def _check_slots(spec: specs.FeatureSpec, config: RunConfig, num_slots: int) -> Iterator[str]:
    kind = config.model.kind
    if isinstance(config.model, HeadsConfig):
        yield (
            f"model.query_slots is set, but model.kind is {kind}; slots are for kind plain, dat or "
            "colbert. Remove the key, or set model.kind: plain."
        )
    if config.training.epochs == 0:
        yield (
            "model.query_slots is set, but training.epochs is 0, so that nothing would teach the "
            "slots what is asked. Remove the key, or train."
        )
    if not any(text.contextual for text in _texts(spec.candidate)):
        yield (
            f"model.query_slots is set, which decodes queries from texts, but the spec "
            f"'{spec.name}' has no text feature with encoder: transformer or pretrained in "
            "candidate.features. Set the encoder of one, or remove the key."
        )
    texts = _texts(spec.query)
    if not texts:
        yield (
            "model.query_slots is set, which predicts the words of queries, but the spec "
            f"'{spec.name}' has no text feature in query.features. Add one, or remove the key."
        )
        return
    vocabularies = sorted({text.vocabulary_name for text in texts})
    if len(vocabularies) > 1:
        yield (
            f"model.query_slots is set, but the query's texts have the vocabularies "
            f"{', '.join(vocabularies)}, and a slot predicts one word of one vocabulary. Give them "
            "the same `vocabulary` in the spec, or remove the key."
        )
    width = sum(text.max_tokens for text in texts)
    if num_slots > width:
        yield (
            f"model.query_slots.num_slots is {num_slots}, but the query's texts have at most "
            f"{width} tokens (max_tokens): the slots beyond would predict nothing. Set num_slots "
            f"to {width} or less."
        )


def _texts(side: specs.Side) -> list[specs.TextFeature]:
    return [feature for feature in side.features if isinstance(feature, specs.TextFeature)]
