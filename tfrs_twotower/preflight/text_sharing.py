"""Checks that the texts of both sides can share what `model.text_sharing` names."""

from collections.abc import Iterator

from tfrs_twotower import specs
from tfrs_twotower.config import ModelConfig


def check_text_sharing(
    spec: specs.FeatureSpec, model: ModelConfig, section: str, *, frozen: bool
) -> Iterator[str]:
    """Refuses a sharing of texts that would have no effect, or that the layers do not allow.

    Args:
        spec: the features of both sides.
        model: a model section.
        section: its place in the run config.
        frozen: whether a daily training leaves the candidate tower as it is.
    """
    if model.text_sharing == "vocabulary":
        return
    found = f"{section}.text_sharing is {model.text_sharing}"
    of_query, of_candidate = _sources(spec.query), _sources(spec.candidate)
    if lacking := [
        f"{name}.features"
        for name, sources in (("query", of_query), ("candidate", of_candidate))
        if not sources
    ]:
        yield (
            f"{found}, but the spec '{spec.name}' has no text feature in {' and '.join(lacking)}. "
            "Remove the key, or add text features to the spec."
        )
        return
    if model.text_sharing == "siamese" and not of_query & of_candidate:
        yield (
            f"{found}, but no text of the query has the encoder and the vocabulary (or the "
            f"checkpoint) of a text of the candidate; found {_named(of_query)} and "
            f"{_named(of_candidate)}. Give both the same, or set text_sharing: projection."
        )
    if model.text_sharing == "siamese" and frozen:
        yield (
            f"{found}, and daily.freeze_candidate_tower is set: the encoder of the queries would "
            "be frozen with that of the candidates. Set one of them otherwise."
        )
    names = [{name for _, name in sources} for sources in (of_query, of_candidate)]
    if model.text_sharing == "asymmetric" and not names[0] & names[1]:
        yield (
            f"{found}, but the texts of both sides share nothing in any case: they have no "
            "vocabulary and no checkpoint in common. Remove the key."
        )
    if model.text_sharing in ("siamese", "projection"):
        yield from _check_layers(model, section, found, of_query & of_candidate)


def _check_layers(
    model: ModelConfig, section: str, found: str, common: set[tuple[str, str]]
) -> Iterator[str]:
    if getattr(model, "body", "residual") == "dense":
        yield (
            f"{found}, but {section}.body is dense, whose layers depend on the number of fields. "
            f"Set {section}.body: residual."
        )
    projected = any(encoder == "pretrained" for encoder, _ in common) or model.kind == "colbert"
    if model.text_sharing == "projection" and not (model.num_residual_layers or projected):
        yield (
            f"{found}, but there is none: {section}.num_residual_layers is 0, and no checkpoint "
            "whose vectors are projected is read by both sides. Give the towers a residual layer, "
            "or set text_sharing: asymmetric."
        )


def _sources(side: specs.Side) -> set[tuple[str, str]]:
    """The encoder, and the vocabulary or checkpoint, of each text of a side."""
    return {
        (feature.encoder, feature.checkpoint or feature.vocabulary_name)
        for feature in side.features
        if isinstance(feature, specs.TextFeature)
    }


def _named(sources: set[tuple[str, str]]) -> str:
    return ", ".join(f"{encoder} of {name}" for encoder, name in sorted(sources))
