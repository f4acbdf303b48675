import pytest

from pipelines.stages import mine as stage
from pipelines.stages.context import StageContext
from tests.fixtures.recorder import Killed, Recorder
from tests.fixtures.tiny import tiny_run_config, tiny_spec
from tests.fixtures.tiny_model import write_tiny_model
from tfrs_twotower.artifacts import Layout, read_manifest, verify_files
from tfrs_twotower.data.negative_lists import load_negative_lists
from tfrs_twotower.errors import ConfigError, MissingArtifact, StaleArtifact


def context_of(root, reporter=None, sections=None, **mining):
    config = tiny_run_config(
        pre_ranking={"mining": {"depth": 5, **mining}, "list_size": 4}, **(sections or {})
    )
    return StageContext(Layout(root), tiny_spec(), config, root, reporter or Recorder())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    write_tiny_model(context_of(root))
    return root


def test_writes_a_negatives_artifact_and_tells_how_far_it_is(root):
    context = context_of(root, teacher="ease")
    manifest = stage.run(context)
    verify_files(root / "negatives", manifest)
    assert read_manifest(root / "negatives", "negatives") == manifest
    assert manifest.config_fingerprint == stage.config_fingerprint(context)
    assert manifest.parents == {
        kind: read_manifest(root / kind, kind).fingerprint for kind in ("preprocessed", "model")
    }
    assert set(manifest.files) == {"fit-rows.npy", "fit-scores.npy", "fit-teacher.npy"}
    assert manifest.counts == {"depth": 5, "fit_examples": 420, "fit_short_lists": 0}
    (phase,) = manifest.details["phases"]
    assert phase == {"phase": "fit", "num_examples": 420, "num_short": 0}
    assert load_negative_lists(root / "negatives", "fit").rows.shape == (420, 5)
    described = [step[0] for step in context.reporter.steps]
    assert list(dict.fromkeys(described)) == [
        "read examples",
        "embed candidates (fit)",
        "mine (fit)",
        "ask the teacher (fit)",
    ]
    assert context.reporter.steps[-1][:3] == ("ask the teacher (fit)", 420, 420)
    (message,) = context.reporter.messages
    assert message == "fit: 420 lists of 5, 0 of them shorter"


def test_a_killed_stage_leaves_nothing_finished_and_starts_again(root):
    before = read_manifest(root / "negatives", "negatives")
    with pytest.raises(Killed, match="now"):
        stage.run(context_of(root, Recorder(lambda task, _: task == "mine (fit)"), depth=3))
    assert (root / ".negatives.partial").exists()
    assert read_manifest(root / "negatives", "negatives") == before, "the old one stays"
    manifest = stage.run(context_of(root, depth=3))
    assert manifest.counts["depth"] == 3
    assert "fit-teacher.npy" not in manifest.files
    assert not (root / ".negatives.partial").exists()


def test_the_fingerprint_is_of_what_mining_reads():
    def of(sections=None, **mining):
        return stage.config_fingerprint(context_of(None, sections=sections, **mining))

    training = tiny_run_config().training.model_dump(mode="json")
    assert of() == of()
    assert of() != of(depth=6)
    assert of() != of(teacher="ease")
    assert of() != of({"training": {**training, "refit": True}})
    assert of() == of({"training": {**training, "epochs": 9}})
    assert of() == of({"evaluate": {"bm25_k1": 2.0}})
    assert of(teacher="bm25") != of({"evaluate": {"bm25_k1": 2.0}}, teacher="bm25")


def test_without_a_pre_ranking_section_it_says_so(root):
    context = context_of(root)
    bare = StageContext(context.layout, context.spec, tiny_run_config(), root, context.reporter)
    with pytest.raises(ConfigError, match="run 'tiny': the run config has no pre_ranking section"):
        stage.run(bare)


def test_without_a_parent_it_says_so(tmp_path):
    with pytest.raises(MissingArtifact, match="there is no finished 'preprocessed' artifact"):
        stage.run(context_of(tmp_path))


def test_an_outdated_model_is_refused(tmp_path):
    context = context_of(tmp_path)
    write_tiny_model(context)
    manifest = read_manifest(tmp_path / "preprocessed", "preprocessed")
    changed = manifest.model_copy(update={"counts": {**manifest.counts, "candidates": 41}})
    (tmp_path / "preprocessed" / "manifest.json").write_text(changed.model_dump_json())
    with pytest.raises(StaleArtifact, match=r"model: was made from 'preprocessed'"):
        stage.run(context)
