import json
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.evaluation.documents import evaluation_document, golden_text
from tests.unit.evaluation.world import make_world, reordered
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact
from tfrs_twotower.evaluation.evaluating import evaluate
from tfrs_twotower.evaluation.report.report_files import (
    read_evaluation,
    read_per_query,
    write_per_query,
)
from tfrs_twotower.evaluation.written_documents import write_json


@pytest.fixture(scope="module")
def inputs():
    return make_world()


def test_the_means_of_the_file_are_the_means_of_the_report(inputs, tmp_path):
    config = EvaluateConfig(ks=(2, 5), num_bootstrap=10)
    evaluation = evaluate(inputs, config)
    path = tmp_path / "per_query.npz"
    write_per_query(path, inputs.test.ids, evaluation.runs, ("ndcg@2", "recall@5"))
    content = read_per_query(path)
    assert list(content.values) == list(evaluation.runs)
    assert content.query_ids == tuple(sorted(inputs.test.ids))
    for name, system in evaluation.document.systems.items():
        for place, metric in enumerate(content.metrics):
            mean = content.values[name][place].mean()
            assert mean == pytest.approx(system.metrics[metric].mean, abs=1e-12)


def test_queries_are_written_in_the_order_of_their_ids(inputs, tmp_path):
    turned = replace(inputs, test=reordered(inputs.test, np.arange(40)[::-1]))
    config = EvaluateConfig(ks=(2,), num_bootstrap=10)
    files = []
    for place, world in enumerate((inputs, turned)):
        files.append(tmp_path / f"{place}.npz")
        write_per_query(files[-1], world.test.ids, evaluate(world, config).runs, ("ndcg@2",))
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_file_that_is_not_one_names_the_stage(tmp_path):
    path = tmp_path / "per_query.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(CorruptArtifact, match=r"per_query.npz: cannot be read.*twotower evaluate"):
        read_per_query(path)


def test_an_evaluation_is_read_as_it_was_written(tmp_path):
    document = evaluation_document()
    write_json(tmp_path / "evaluation.json", document)
    assert read_evaluation(tmp_path) == document


def test_a_missing_or_broken_evaluation_names_the_key_and_the_stage(tmp_path):
    with pytest.raises(MissingArtifact, match=r"evaluation.json: is missing.*twotower evaluate"):
        read_evaluation(tmp_path)
    path = tmp_path / "evaluation.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(CorruptArtifact, match=r"the document: Invalid JSON.*twotower evaluate"):
        read_evaluation(tmp_path)
    document = json.loads(golden_text("evaluation"))
    del document["protocol"]["ks"]
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(CorruptArtifact, match=r"evaluation.json: protocol.ks: Field required"):
        read_evaluation(tmp_path)
