"""Systems that find texts, each asked over gRPC: the answers are those of its offline search.

`tests.benchmarks.text_systems` compares all of them; these are the ones whose graph no other test
serves.
"""

import json
from dataclasses import replace

import numpy as np
import pytest

from pipelines.stages import build_index, embed, export, train
from serving.bundle.parity import TOLERANCE
from serving.bundle.versions import resolve_version
from tests.benchmarks.text_systems.measuring import (
    METRICS,
    SERVED,
    milliseconds,
    quality,
    serve,
    stored_bytes,
)
from tests.fixtures.served_as_offline import worst_difference
from tests.fixtures.tiny import tiny_spec
from tests.fixtures.tiny_files import write_preprocessed
from tests.fixtures.tiny_model import tiny_context, write_tiny_model
from tests.fixtures.tiny_pre_ranker import write_tiny_pre_ranker
from tests.fixtures.tiny_world import plant
from tfrs_twotower.config import EvaluateConfig
from tfrs_twotower.documents import parse
from tfrs_twotower.errors import BundleError, FeatureSpecError
from tfrs_twotower.evaluation.evaluating import evaluate
from tfrs_twotower.evaluation.loading_evaluated_data import load_inputs
from tfrs_twotower.specs import FeatureSpec

pytestmark = [pytest.mark.local_server, pytest.mark.integration]
NUM_CANDIDATES = 40
TWIN = pytest.mark.slow(reason="a second pair; a cascade of these two is served by other tests")
EXPORT = {"k": 10, "max_excluded": 20, "allowed_batch_sizes": [1]}
HEADS = {"embedding_dim": 8, "num_query_heads": 2, "num_candidate_heads": 3, "head_dim": 4}
TOKENS = {"embedding_dim": 8, "max_candidate_tokens": 7, "head_dim": 8}


def text_context(root, **sections):
    """A run on the planted data whose only features are a text on each side, of one vocabulary."""
    data = tiny_spec().model_dump(mode="json")
    words = {"kind": "text", "vocabulary": "words", "vocabulary_size": 80}
    data["query"]["features"] = [{"name": "bio", "max_tokens": 6, **words}]
    data["candidate"]["features"] = [{"name": "description", "max_tokens": 8, **words}]
    spec = parse(FeatureSpec, data, "texts", FeatureSpecError)
    model = {"embedding_dim": 16, "num_residual_layers": 0}
    context = tiny_context(root, **{"model": model, "export": EXPORT, **sections})
    context = replace(context, spec=spec)
    write_preprocessed(context.layout.preprocessed, spec, plant(0))
    return context


def exported(context):
    for stage in (embed, build_index, export):
        stage.run(context)
    return resolve_version(context.layout.bundle / "tiny")


def test_vectors_of_mined_rounds_and_views_served_narrow_in_eight_bits(tmp_path):
    """ANCE and DANCE from BM25's negatives, SamToNe, views, and Matryoshka in one training."""
    training = {
        "batch_size": 64,
        "epochs": 1,
        "softmax": {"same_tower": "query"},
        "terms": {
            "dual": {"weight": 0.1},
            "multi_view": {"side": "both"},
            "matryoshka": {"widths": [8]},
        },
        "ance": {"rounds": 1, "epochs": 1, "ranks": [1, 10], "negatives": 2, "warm_start": "bm25"},
        "early_stopping": None,
    }
    index = {"kind": "brute_force", "k": 10, "vectors": "int8", "target_overlap": 0.8}
    context = text_context(tmp_path, training=training, embed={"width": 8}, index=index)
    train.run(context)
    version = exported(context)
    assert worst_difference(context) <= TOLERANCE
    # Eight numbers of eight bits, and the scale of a vector.
    assert stored_bytes(version) == (NUM_CANDIDATES * (8 + 4), 0)


def test_encodings_of_tokens(tmp_path):
    muvera = {"repetitions": 2, "bits": 2}
    model = {"kind": "colbert", "embedding_dim": 16, "head_dim": 4, "muvera": muvera}
    context = text_context(tmp_path, model=model)
    write_tiny_model(context)
    exported(context)
    served = serve(context)
    assert served.difference <= TOLERANCE
    assert served.bytes_per_candidate == (2 * 4 * 4 + 1) * 4
    assert served.index_mb == pytest.approx(NUM_CANDIDATES * (2 * 4 * 4 + 1) * 4 / 1e6)
    assert milliseconds({"muvera": context}, rounds=1)["muvera"] > 0
    query_ids, values = quality(context)
    assert list(values) == [SERVED]
    found = dict(zip(METRICS, values[SERVED], strict=True))
    inputs = load_inputs(context.layout, context.spec)
    config = EvaluateConfig(ks=(10,), baselines=(), num_bootstrap=2, num_example_queries=0)
    run = evaluate(inputs, config).runs["retrieval"]
    assert query_ids == inputs.test.ids.tolist()
    # The tiny texts repeat: where scores tie to their last digit, so may the order.
    assert np.isclose(found["ndcg@10"], run.values("ndcg@10")).mean() > 0.8
    assert np.isclose(found["recall@20"], run.values("recall@10")).mean() > 0.8  # of lists of ten


@pytest.mark.parametrize(
    "kinds", [("mol", "cold"), pytest.param(("inttower", "colbert"), marks=TWIN)]
)
def test_second_stages(kinds, tmp_path):
    models = [{"kind": kind, **(TOKENS if kind == "colbert" else HEADS)} for kind in kinds]
    section = {"num_candidates": 12, "models": models, "popularity_days": [None]}
    context = text_context(tmp_path, pre_ranking=section)
    write_tiny_model(context)
    write_tiny_pre_ranker(context)
    version = exported(context)
    if kinds == ("mol", "cold"):
        # Three heads of four numbers each; twelve gates of 2 x 2 by 3 heads; the score's constant.
        numbers = 3 * 4 + 12 + 3 * 4 + 1
        assert stored_bytes(version) == (NUM_CANDIDATES * 16 * 4, NUM_CANDIDATES * numbers * 4)
    assert worst_difference(context) <= TOLERANCE
    # The check can fail: these are not the weights that are served.
    path = context.layout.pre_ranker / "combination.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps({**written, "weights": [2.0, 1.0, 0.7, -0.1]}))
    with pytest.raises(BundleError, match="its answers differ from those of index and pre_ranker"):
        worst_difference(context)
