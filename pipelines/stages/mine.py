"""Stage `mine`: the candidates that retrieval returns for the training examples."""

import time
from dataclasses import asdict

from pipelines.progress import Reporter
from pipelines.stages import fingerprints
from pipelines.stages.context import StageContext, open_lineage, search_of_words
from pipelines.stages.element_counts import check_counts, compare_examples
from tfrs_twotower.artifacts import Manifest, commit, staging_directory
from tfrs_twotower.artifacts.manifest import Kind
from tfrs_twotower.config import pre_ranking_of, searches_words
from tfrs_twotower.mining.mine import mine

_REPORT_EVERY_S = 0.2


config_fingerprint = fingerprints.mine


def run(context: StageContext) -> Manifest:
    """Retrieves candidates for every training example and writes `negatives/`.

    Raises:
        ConfigError: the run has no pre-ranking section, or the corpus is too large for the teacher.
        TrainingError: the training of a cross-encoder diverged.
        EmbeddingError: an embedding is not finite; nothing is written then.
        LostElements: there is not one list for each example.
        ArtifactError: the examples or the model are missing, outdated or damaged.
    """
    layout, mining = context.layout, pre_ranking_of(context.config).mining
    kinds: list[Kind] = ["preprocessed", "model"]
    if searches_words(context.config):
        kinds.append("index")
    lineage, parents = open_lineage(context, kinds, config_fingerprint(context))
    staging = staging_directory(layout.negatives)
    started = time.monotonic()
    phases = mine(
        context.spec,
        context.config,
        mining,
        layout.preprocessed,
        layout.model,
        staging,
        _Progress(context.reporter),
        words=search_of_words(context, parents["preprocessed"].counts["candidates"]),
        checkpoint_root=context.data_root,
    )
    seconds = time.monotonic() - started
    for phase in phases:
        what, refit = f"lists of the {phase.phase}", phase.phase == "refit"
        expected = compare_examples(what, phase.num_examples, parents["preprocessed"], refit=refit)
        check_counts("mine", expected)
    for phase in phases:
        context.reporter.message(
            f"{phase.phase}: {phase.num_examples:,} lists of {mining.depth}, "
            f"{phase.num_short:,} of them shorter"
        )
    return commit(
        staging,
        layout.negatives,
        kind="negatives",
        **lineage._asdict(),
        counts={
            "depth": mining.depth,
            **{f"{phase.phase}_examples": phase.num_examples for phase in phases},
            **{f"{phase.phase}_short_lists": phase.num_short for phase in phases},
        },
        details={
            "phases": [asdict(phase) for phase in phases],
            "seconds": round(seconds, 3),
            "examples_per_s": round(sum(phase.num_examples for phase in phases) / seconds, 1),
        },
    )


class _Progress:
    """Passes progress on to the run's reporter, a few times in a second, with a rate."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._description = ""
        self._started = self._last = 0.0

    def __call__(self, description: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if description != self._description:
            self._description, self._started = description, now
        elif now - self._last < _REPORT_EVERY_S and done != total:
            return
        self._last = now
        elapsed_s = now - self._started
        rate = f"{done / elapsed_s:,.0f}/s" if done and elapsed_s > 0 else ""
        self._reporter.progress(description, done, total, rate)
