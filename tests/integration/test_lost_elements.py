"""Engines that lose elements without an error: no stage commits what they wrote."""

import hashlib
from dataclasses import replace

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.transforms import ptransform

from pipelines.stages import build_index, embed, evaluate, export, import_embeddings, mine, train
from pipelines.stages.element_counts import Compared, check_counts
from serving.bundle.versions import list_versions
from tests.fixtures.tiny_model import tiny_context, write_tiny_model
from tests.integration import preprocess_world as world
from tfrs_twotower.errors import LostElements

pytestmark = pytest.mark.integration
MIN_LABEL = {"min_label": 3, "drop_others": True}


class Lose(beam.DoFn):
    """Loses about half, chosen by the key."""

    def process(self, element):
        key = element[0] if isinstance(element, tuple) and len(element) == 2 else element
        if hashlib.sha256(repr(key).encode()).digest()[2] % 2:
            yield element


@pytest.fixture
def lose(monkeypatch):
    """Makes Beam lose elements of the output of one transform, named by the end of its label."""
    apply = beam.Pipeline.apply

    def losing(where):
        def lossy(pipeline, transform, pvalueish=None, label=None):
            named = f"{pipeline._current_transform().full_label}/{transform.label}"
            result = apply(pipeline, transform, pvalueish, label)
            itself = label is None and not isinstance(transform, ptransform._NamedPTransform)
            if itself and f"/{named}".endswith(f"/{where}"):
                return apply(pipeline, beam.ParDo(Lose()), result, f"Lose{transform.label}")
            return result

        monkeypatch.setattr(beam.Pipeline, "apply", lossy)

    return losing


@pytest.mark.parametrize(
    ("where", "lost"),
    [
        ("MatchCandidates/CandidateKey", "candidates kept or left out"),
        pytest.param("MatchCandidates/GroupByKey", "kept or left out", marks=pytest.mark.slow),
        pytest.param("BuildQueries/QueryKey", "queries kept or left out", marks=pytest.mark.slow),
        ("BuildQueries/GroupByKey", "interactions kept or left out"),
        pytest.param(
            "BuildCorpus/GroupByKey", "candidates kept or left out", marks=pytest.mark.slow
        ),
        ("CountCandidates/Add", "events counted for popularity"),
        pytest.param("FinishEvaluations/GroupByQuery", "queries finished", marks=pytest.mark.slow),
        pytest.param("AllBad", "left out", marks=pytest.mark.slow),
        pytest.param("AllItems", "elements in the shards of", marks=pytest.mark.slow),
        ("WriteShards/GroupByKey", "elements in the shards of"),
        pytest.param("Preprocess/AddCounts", "where", marks=pytest.mark.slow),
    ],
)
def test_preprocess_refuses_what_lacks_elements(tmp_path, lose, where, lost):
    unknown = [("q1", f"nobody {number}", world.START_S, 5, "") for number in range(8)]
    events = [*world.random_events(3), *unknown]
    world.write_tables(tmp_path, events)
    spec = {**world.SPEC, "relevance": MIN_LABEL}
    assert world.run(tmp_path, spec=spec).counts["quarantined_interactions"] == 8
    lose(where)
    with pytest.raises(LostElements, match=rf"^preprocess: found .*{lost}"):
        world.run(tmp_path, spec=spec, workdir="lossy")
    assert not (tmp_path / "lossy" / "preprocessed").exists()


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    context = tiny_context(
        tmp_path_factory.mktemp("run"),
        index={"kind": "brute_force", "k": 10},
        export={"k": 10, "allowed_batch_sizes": [1]},
        pre_ranking={"mining": {"depth": 50}},
        evaluate={"ks": [10], "baselines": []},
    )
    write_tiny_model(context)
    embed.run(context)
    build_index.run(context)
    return replace(context, config=context.config.model_copy(update={"pre_ranking": None}))


@pytest.mark.parametrize(
    ("where", "lost"),
    [
        ("Embed candidates/Group by shard", "embeddings of candidates"),
        ("Embed test/With empty shards", "embeddings of test"),
    ],
)
def test_embed_refuses_what_lacks_elements(context, lose, where, lost):
    before = (context.layout.embeddings / "manifest.json").read_bytes()
    lose(where)
    with pytest.raises(LostElements, match=rf"^embed: found .* {lost}, where preprocessed/ has"):
        embed.run(context)
    assert (context.layout.embeddings / "manifest.json").read_bytes() == before


def without_last(function):
    def shorter(*arguments, **settings):
        corpus = function(*arguments, **settings)
        return corpus.take(np.arange(len(corpus) - 1))

    return shorter


def test_build_index_refuses_an_index_that_lacks_candidates(context, monkeypatch):
    patched = without_last(build_index.read_candidate_embeddings)
    monkeypatch.setattr(build_index, "read_candidate_embeddings", patched)
    with pytest.raises(LostElements, match=r"^build-index: .* in the index, where embeddings/ has"):
        build_index.run(context)


def test_export_refuses_a_bundle_that_lacks_candidates(context, monkeypatch):
    monkeypatch.setattr(export, "releases_of_bundle", lambda *_: [])
    with pytest.raises(
        LostElements, match=r"^export: found 0 candidates in the bundle tiny, where"
    ):
        export.run(context)
    assert list_versions(context.layout.bundle / "tiny") == []


def test_evaluate_refuses_data_that_lacks_queries(context, monkeypatch):
    load = evaluate.loading_evaluated_data.load_inputs

    def fewer(*arguments, **settings):
        inputs = load(*arguments, **settings)
        return replace(inputs, test=inputs.test.sample(len(inputs.test) - 1, seed=1))

    monkeypatch.setattr(evaluate.loading_evaluated_data, "load_inputs", fewer)
    with pytest.raises(LostElements, match=r"^evaluate: found \d+ test queries to evaluate, where"):
        evaluate.run(context)
    assert not context.layout.report.exists()


def test_mine_refuses_lists_that_are_too_few(context, monkeypatch):
    phases = [mine_phase(3)]
    monkeypatch.setattr(mine, "mine", lambda *_, **__: phases)
    pre_ranking = tiny_context(context.layout.root / "x", pre_ranking={}).config.pre_ranking
    config = context.config.model_copy(update={"pre_ranking": pre_ranking})
    with pytest.raises(LostElements, match=r"^mine: found 3 lists of the fit, where preprocessed/"):
        mine.run(replace(context, config=config))
    assert not context.layout.negatives.exists()


def mine_phase(num_examples):
    from tfrs_twotower.mining.mine import MinedPhase

    return MinedPhase("fit", num_examples, 0)


def test_train_refuses_to_have_learned_from_too_few(context, monkeypatch):
    class Result:
        num_examples, refitted = 3, False

    monkeypatch.setattr(train, "train", lambda *_, **__: Result())
    with pytest.raises(LostElements, match=r"^train: found 3 training examples that were learned"):
        train.run(context)


def test_import_embeddings_refuses_an_index_that_lacks_candidates(context, monkeypatch):
    candidates = build_index.read_candidate_embeddings(context.layout.embeddings)
    config = import_embeddings.load_import_config(())
    vectors = import_embeddings.Vectors(candidates, None, None)
    built = import_embeddings._build(vectors, config, context.reporter)
    patched = without_last(lambda corpus, _: corpus)
    monkeypatch.setattr(import_embeddings.storage.Index, "of", as_index(patched, built))
    with pytest.raises(LostElements, match=r"^import-embeddings: .* in the index, where the file"):
        import_embeddings._release(candidates, built, candidates.vectors[:1], "x", config)


def as_index(function, built):
    def make(corpus, _):
        class Fewer:
            kind = "brute_force"

        Fewer.corpus = function(corpus, built)
        return Fewer

    return staticmethod(make)


def test_every_difference_is_named_and_equal_numbers_pass():
    same, less = Compared("a", 3, 3, "b has"), Compared("c", 1, 2_000, "d has")
    check_counts("stage", [same])
    with pytest.raises(LostElements, match=r"^stage: found 1 c, where d has 2,000; 1 c, where"):
        check_counts("stage", [less, same, less])
