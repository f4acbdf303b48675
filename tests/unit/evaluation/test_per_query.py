from dataclasses import replace

import numpy as np
import pytest

from tests.unit.evaluation.world import make_world
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.evaluation.evaluating import evaluate
from tfrs_twotower.evaluation.inputs import QuerySet
from tfrs_twotower.evaluation.per_query import judged_on, read_per_query, write_per_query


@pytest.fixture(scope="module")
def inputs():
    return make_world()


def reordered(queries, order):
    return QuerySet(
        split=queries.split,
        ids=[queries.ids[place] for place in order],
        truth=queries.truth.take(order),
        seen=queries.seen.take(order),
        num_events=queries.num_events[order],
        timestamps=queries.timestamps[order],
        embeddings=queries.embeddings[order],
    )


def test_the_means_of_the_file_are_the_means_of_the_report(inputs, tmp_path):
    config = EvaluateConfig(ks=(2, 5), num_bootstrap=10)
    evaluation = evaluate(inputs, config)
    path = tmp_path / "per_query.npz"
    write_per_query(path, inputs.test.ids, evaluation.runs, ("ndcg@2", "recall@5"))
    found = read_per_query(path)
    assert list(found.values) == list(evaluation.runs)
    assert found.query_ids == tuple(sorted(inputs.test.ids))
    for name, system in evaluation.document["systems"].items():
        for place, metric in enumerate(found.metrics):
            mean = found.values[name][place].mean()
            assert mean == pytest.approx(system["metrics"][metric]["mean"], abs=1e-12)


def test_queries_are_written_in_the_order_of_their_ids(inputs, tmp_path):
    order = np.arange(40)[::-1]
    turned = replace(inputs, test=reordered(inputs.test, order))
    config = EvaluateConfig(ks=(2,), num_bootstrap=10)
    files = []
    for place, world in enumerate((inputs, turned)):
        files.append(tmp_path / f"{place}.npz")
        write_per_query(files[-1], world.test.ids, evaluate(world, config).runs, ("ndcg@2",))
    assert files[0].read_bytes() == files[1].read_bytes()
    assert judged_on(turned) == judged_on(inputs)


def test_other_truth_queries_corpus_or_exclusions_cannot_be_compared(inputs):
    few = np.arange(39)
    truth = inputs.test.truth
    others = [
        replace(inputs, test=reordered(inputs.test, few)),
        replace(inputs, test=replace(inputs.test, truth=replace(truth, gains=truth.gains * 2))),
        replace(inputs, test=replace(inputs.test, seen=inputs.validation.seen)),
        replace(inputs, eligible=np.arange(30) > 0),
        replace(inputs, corpus=replace(inputs.corpus, ids=[f"d{row}" for row in range(30)])),
    ]
    assert len({judged_on(world) for world in (inputs, *others)}) == 6


def test_what_a_model_reads_does_not_matter(inputs):
    assert judged_on(make_world(texts=True)) == judged_on(inputs)


def test_a_file_that_is_not_one_names_the_stage(tmp_path):
    path = tmp_path / "per_query.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(CorruptArtifact, match=r"per_query.npz: cannot be read.*twotower evaluate"):
        read_per_query(path)
