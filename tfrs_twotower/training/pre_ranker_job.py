"""Trains the pre-ranker on mined lists, and writes it to disk."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import tensorflow as tf

from tfrs_twotower.artifacts import layout
from tfrs_twotower.config import PreRankingConfig, RunConfig
from tfrs_twotower.data import first_fit
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers import pre_ranker, storage, tower
from tfrs_twotower.training import (
    cascade_validation,
    closed_form_members,
    replicas,
    reports,
    training_data,
)
from tfrs_twotower.training.job import most_validation_queries, validation_metric
from tfrs_twotower.training.member import MemberJob, clear_member

_SEED_STEP = 1_000_003


@dataclass(frozen=True)
class PreRankerResult:
    """The result of training a pre-ranker.

    Attributes:
        members: the training result of each trained member.
        num_examples: number of examples that the final members were fitted on.
        validation: each metric of retrieval alone, and of the whole cascade out of fold.
        weights: the weights of the combination, by feature.
        combination: whether the combination is used or retrieval's order is kept, and why.
        messages: messages for the user.
    """

    members: tuple[reports.TrainingResult, ...]
    num_examples: int
    validation: dict[str, float]
    weights: dict[str, float]
    combination: dict[str, float | str]
    messages: tuple[str, ...]


def train_pre_ranker(
    spec: FeatureSpec,
    config: RunConfig,
    pre_ranking: PreRankingConfig,
    preprocessed_dir: Path,
    model_dir: Path,
    negatives_dir: Path,
    output_dir: Path,
    report: reports.Report = reports.ignore_report,
    *,
    checkpoint_root: Path = Path(),
    words: Lexical | None = None,
) -> PreRankerResult:
    """Trains the members, fits the weighted sum of the cascade, and writes everything.

    In the first fit, the members and the retrieval towers have learned from training examples only.
    The weights of the sum are therefore fitted then, on validation queries that neither has seen,
    and are kept when the members are fitted again with the validation window. Figures of the
    cascade are out of fold: no query is measured with weights that were fitted on it.

    Args:
        spec: the feature spec.
        config: the run config.
        pre_ranking: its section for the second stage.
        preprocessed_dir: a finished preprocessed artifact.
        model_dir: the retrieval model.
        negatives_dir: the mined lists.
        output_dir: an existing directory; everything is written here.
        report: receives a report of every step.
        checkpoint_root: directory to which `checkpoint` paths of the spec are relative.
        words: what retrieval searches words with, if it does.

    Raises:
        ConfigError: the corpus is too large for EASE.
        DataError: the matrix of EASE cannot be inverted.
        TrainingError: training diverged, or cannot start.
        ArtifactError: an artifact cannot be read, or does not fit the others.
    """
    replicas.reserve_devices(pre_ranking.replicas)
    assets = load_assets(preprocessed_dir)
    refit = config.training.refit
    data = training_data.open_training_data(preprocessed_dir, spec, config.training, assets)
    retrieval = storage.load_towers(
        model_dir,
        layout.FIRST_FIT_WEIGHTS if refit else layout.WEIGHTS,
        width=config.embed.width,
    )

    @cache
    def windows(with_validation_window: bool) -> training_data.Window:
        towers = storage.load_towers(model_dir) if with_validation_window else retrieval
        return data.read_window(towers, with_validation_window=with_validation_window)

    table, corpus_tokens = windows(False)
    known = assets.of_first_fit()
    lexical = None
    if pre_ranking.bm25 is not None:
        lexical = closed_form_members.make_lexical_member(
            spec, pre_ranking.bm25, known, data.corpus
        )
    fit_closed_form = partial(closed_form_members.fit_closed_form, spec, pre_ranking)
    all_pairs = partial(data.all_pairs, with_validation_window=False)
    closed_form = fit_closed_form(known, data.corpus, table, lexical, all_pairs)
    pools = _pools(data, retrieval, corpus_tokens, closed_form, pre_ranking, config.seed, words)
    messages = _missing_days(closed_form.signals, pre_ranking)
    for message in messages:
        report(reports.message_report(message))
    num_members = len(pre_ranking.models)
    directories = [
        output_dir / layout.MEMBER.format(number=number) for number in range(num_members)
    ]
    members, interactions = [], []
    for number, (model, directory) in enumerate(zip(pre_ranking.models, directories, strict=True)):
        directory.mkdir(exist_ok=True)
        job = MemberJob(
            spec,
            model,
            pre_ranking,
            data,
            # Building towers may add a checkpoint's vocabulary.
            replace(assets, vocabularies=dict(assets.vocabularies)),
            pools=pools,
            windows=windows,
            negatives_dir=negatives_dir,
            # Each member starts differently from the others and from the retrieval model, also
            # in runs with the following seeds.
            seed=config.seed + _SEED_STEP * (1 + number),
            refit=refit,
            output_dir=directory,
            report=_named(report, f"member {number + 1} of {num_members}: "),
            checkpoint_root=checkpoint_root,
        )
        result, interaction = job.finish()
        members.append(result)
        interactions.append(interaction)
    metric = validation_metric(pre_ranking)
    combined = pools.combine(interactions, metric)
    first_fit.FirstFitRecall(len(pools.queries), tuple(pools.recall_by_length(combined))).write(
        output_dir
    )
    if refit:
        table, known = windows(True).table, assets
        if pre_ranking.bm25 is not None and assets.num_fresh and spec.histories:
            # A history is searched with the words of its candidates: of these more are known.
            lexical = closed_form_members.make_lexical_member(
                spec, pre_ranking.bm25, known, data.corpus
            )
        all_pairs = partial(data.all_pairs, with_validation_window=True)
        closed_form = fit_closed_form(known, data.corpus, table, lexical, all_pairs)
    combination = pre_ranker.Combination(
        pre_ranking.num_candidates,
        (
            pre_ranker.RETRIEVAL,
            *(f"{pre_ranker.INTERACTION}_{number}" for number in range(num_members)),
            *closed_form.features,
        ),
        tuple(float(weight) for weight in combined.weights),
    )
    combination.save(output_dir)
    closed_form.save(spec, known, output_dir)
    _join_logs(output_dir, directories)
    for directory in directories:
        clear_member(directory)
    return PreRankerResult(
        tuple(members),
        len(table),
        {
            f"{system} {name}": value
            for name in (metric, *pre_ranking.further_metrics)
            for system, value in (
                ("retrieval", pools.retrieval_alone(name)),
                ("cascade", pools.measure(name, combined)),
            )
        },
        dict(zip(combination.features, combination.weights, strict=True)),
        combined.facts,
        tuple(messages),
    )


def _missing_days(
    signals: closed_form_members.CandidateSignals, pre_ranking: PreRankingConfig
) -> list[str]:
    if len(signals.names) == len(pre_ranking.popularity_days):
        return []
    kept = ", ".join(signals.names) or "none"
    return [f"pre_ranking.popularity_days: the data has no time; signals that are kept: {kept}"]


def _pools(
    data: training_data.TrainingData,
    retrieval: tower.Towers,
    corpus_tokens: dict[str, tf.Tensor],
    closed_form: closed_form_members.ClosedForm,
    pre_ranking: PreRankingConfig,
    seed: int,
    words: Lexical | None,
) -> cascade_validation.Pools:
    most = most_validation_queries(pre_ranking)
    queries = data.validation_queries(retrieval.query, most, seed=seed)
    if queries is None:
        raise TrainingError(
            "pre_ranking fits the weights of both stages' scores on validation queries, and the "
            "split has none. Widen the validation window, or leave pre_ranking out."
        )
    return cascade_validation.Pools(
        retrieval,
        corpus_tokens,
        queries,
        num_candidates=pre_ranking.num_candidates,
        signals=closed_form.signals.values,
        linear=closed_form.linear,
        tastes=closed_form.tastes,
        item_knn=closed_form.item_knn,
        lexical=closed_form.lexical,
        words=words,
    )


def _named(report: reports.Report, name: str) -> reports.Report:
    def pass_on(step: reports.StepReport) -> None:
        report(replace(step, message=name + step.message) if step.message else step)

    return pass_on


def _join_logs(directory: Path, members: Sequence[Path]) -> None:
    lines = [
        json.dumps({"member": number, **json.loads(line)})
        for number, member in enumerate(members)
        for line in (member / layout.TRAINING_LOG).read_text(encoding="utf-8").splitlines()
    ]
    text = "".join(f"{line}\n" for line in lines)
    (directory / layout.TRAINING_LOG).write_text(text, encoding="utf-8")
