from pathlib import Path

import pytest

from tfrs_twotower.config import DATA_VARIABLE, RunConfig, data_root, load_run_config, spec_path
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.preflight.run import check_run
from tfrs_twotower.specs import load_spec

CONFIGS = sorted((Path(__file__).parents[3] / "pipelines" / "configs").glob("*.yaml"))


@pytest.fixture
def run_file(tmp_path):
    path = tmp_path / "toy_run.yaml"
    path.write_text("spec: toy.yaml\n")
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_published_configs_fit_their_specs(path):
    config = load_run_config(path)
    assert config.name == path.stem
    check_run(load_spec(spec_path(config, path)), config)
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(f"# twotower run pipelines/configs/{path.name}")


def test_defaults_come_from_the_classes(run_file):
    config = load_run_config(run_file)
    assert config.name == "toy_run"
    assert (config.training.batch_size, config.training.epochs) == (1024, 20)
    assert config.index.kind == "auto"


def test_overrides_are_yaml_values(run_file):
    config = load_run_config(
        run_file,
        (
            "training.batch_size=64",
            "training.early_stopping=null",
            "training.softmax={temperature: 0.5}",
            "evaluate.ks=[5, 10]",
            "name=other",
        ),
    )
    assert config.training.batch_size == 64
    assert config.training.early_stopping is None
    assert config.training.softmax.temperature == 0.5
    assert config.evaluate.ks == (5, 10)
    assert config.name == "other"


@pytest.fixture
def run_file_with_members(run_file):
    """The towers of both stages and of all members are one node of the YAML."""
    run_file.write_text(
        "spec: toy.yaml\nmodel: &towers {kind: inttower}\n"
        "pre_ranking: {models: [*towers, *towers]}\n"
    )
    return run_file


def test_overrides_reach_one_entry_of_a_list_and_no_alias_of_it(run_file_with_members):
    overrides = (
        "pre_ranking.models.1.dropout=0.1",
        "pre_ranking.models.1.num_query_heads=2",
        "model.dropout=0.3",
    )
    config = load_run_config(run_file_with_members, overrides)
    first, second = config.pre_ranking.models
    assert (config.model.dropout, first.dropout, second.dropout) == (0.3, 0.0, 0.1)
    heads = [model.num_query_heads for model in (config.model, first, second)]
    assert heads == [4, 4, 2]
    whole = load_run_config(run_file_with_members, ("pre_ranking.models.0={kind: mol}",))
    assert [model.kind for model in whole.pre_ranking.models] == ["mol", "inttower"]


@pytest.mark.parametrize("key", ["2.dropout", "first.dropout", "2", "-1"])
def test_an_entry_that_a_list_does_not_have(run_file_with_members, key):
    with pytest.raises(
        ConfigError, match=r"' is not the number of an entry of the list before it, which has 2; "
    ):
        load_run_config(run_file_with_members, (f"pre_ranking.models.{key}=0",))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.batch_size", r"--set training\.batch_size: expected a\.b=value"),
        ("=3", "expected a.b=value"),
        ("spec.path=3", "'spec' is a value, not a section"),
        ("training.batch_size=[", "the value is not YAML"),
        ("training.batchsize=3", r"unknown key 'batchsize' \(did you mean 'batch_size'\?\)"),
        ("trainig.epochs=3", r"unknown key 'trainig' \(did you mean 'training'\?\)"),
        ("training.batch_size=1", r"training\.batch_size: .*greater than or equal to 2"),
        ("training.max_steps=10", "set exactly one of epochs and max_steps"),
        ("training.epochs=null", "set exactly one of epochs and max_steps"),
        ("training.replicas=3", "batch_size 1024 is not a multiple of training.replicas 3"),
        ("evaluate.ks=[5, 5]", "evaluate.ks has repeated values"),
        ("evaluate.baselines=[svd]", "evaluate.baselines"),
        ("export.bundles=[{name: a}, {name: a}]", "two bundles have the same name"),
        ("pre_ranking={models: []}", "models is empty and ease, tastes, item_knn and bm25 are"),
        ("pre_ranking={bm25: {b: 1.5}}", r"pre_ranking\.bm25\.b: .*less than or equal to 1"),
        ("pre_ranking={bm25: {k1: 0}}", r"pre_ranking\.bm25\.k1: .*greater than 0"),
        (
            "pre_ranking={popularity_days: [7, null, 7.0]}",
            r"pre_ranking\.popularity_days has repeated values: \[7, null, 7\]",
        ),
        (
            "pre_ranking={ease: {half_lives: [null, null]}}",
            r"pre_ranking\.ease\.half_lives has repeated values: \[null, null\]",
        ),
        (
            "pre_ranking={item_knn: {half_lives: [2, 2]}}",
            r"pre_ranking\.item_knn\.half_lives has repeated values: \[2, 2\]",
        ),
        (
            "pre_ranking={models: [{kind: inttower, wide: {}}]}",
            r"pre_ranking\.models\.0\.wide is set; .* Move it to model\.wide",
        ),
        (
            "model.wide={popularity_days: [null, null]}",
            r"model\.wide\.popularity_days has repeated values: \[null, null\]",
        ),
        (
            "model.wide={kind: none, popularity_days: []}",
            r"model\.wide\.kind is none and popularity_days is empty",
        ),
        ("pre_ranking={ease: {half_lives: []}}", r"pre_ranking\.ease\.half_lives: .*at least 1"),
        ("pre_ranking={ease: {half_lives: [0]}}", r"half_lives.*greater than 0"),
        ("pre_ranking={ease: {rank: 0}}", r"pre_ranking\.ease\.rank: .*greater than 0"),
        ("training.early_stopping.metric=recall", r"early_stopping\.metric.*found 'recall'"),
    ],
)
def test_mistakes_are_explained(run_file, override, message):
    with pytest.raises(ConfigError, match=message):
        load_run_config(run_file, (override,))


def test_bm25_alone_is_a_pre_ranker(run_file):
    config = load_run_config(run_file, ("pre_ranking={models: [], bm25: {}}",))
    assert (config.pre_ranking.bm25.k1, config.pre_ranking.bm25.b) == (1.2, 0.75)


def test_refit_repeats_an_early_stopped_run(run_file):
    with pytest.raises(ConfigError, match=r"training\.refit needs training\.early_stopping"):
        load_run_config(run_file, ("training.refit=true", "training.early_stopping=null"))


def test_spec_is_required(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text("name: toy\n")
    with pytest.raises(ConfigError, match="spec: Field required"):
        load_run_config(path)


def test_paths_are_relative_to_the_run_config(run_file, tmp_path, monkeypatch):
    config = load_run_config(run_file)
    assert spec_path(config, run_file) == tmp_path / "toy.yaml"
    monkeypatch.setenv(DATA_VARIABLE, "/somewhere/data")
    assert data_root(config, run_file) == Path("/somewhere/data")
    monkeypatch.delenv(DATA_VARIABLE)
    monkeypatch.chdir(tmp_path)
    assert data_root(config, run_file) == tmp_path / "data"
    own = load_run_config(run_file, ("data_root=tables",))
    assert data_root(own, run_file) == tmp_path / "tables"
    monkeypatch.setenv("HOME", "/home/ada")
    at_home = load_run_config(run_file, ("data_root=~/tables", "spec=~/toy.yaml"))
    assert data_root(at_home, run_file) == Path("/home/ada/tables")
    assert spec_path(at_home, run_file) == Path("/home/ada/toy.yaml")
    monkeypatch.setenv(DATA_VARIABLE, "~/all")
    assert data_root(config, run_file) == Path("/home/ada/all")


def test_a_value_that_is_not_yaml_is_explained_in_one_line(run_file):
    with pytest.raises(
        ConfigError, match=r"--set name=\[1: the value is not YAML: expected"
    ) as caught:
        load_run_config(run_file, ("name=[1",))
    assert "\n" not in str(caught.value)


def test_a_feature_spec_in_the_place_of_a_run_config_is_recognised(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ninteractions: {path: loans.csv}\n")
    with pytest.raises(ConfigError, match=r"this is a feature spec, expected a run config"):
        load_run_config(path)


SECTIONS = ("training", "pre_ranking")
FORMS = {"refined_logq": "true", "num_hard_negatives": "3", "same_tower": "both"}


@pytest.fixture
def cascade_file(tmp_path):
    path = tmp_path / "toy_run.yaml"
    path.write_text("spec: toy.yaml\npre_ranking: {}\n")
    return path


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("form", FORMS)
def test_one_form_of_the_softmax_is_fine(cascade_file, section, form):
    config = load_run_config(cascade_file, (f"{section}.softmax.{form}={FORMS[form]}",))
    assert getattr(getattr(config, section).softmax, form)


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("left_out", FORMS)
def test_two_forms_of_the_softmax_are_refused(cascade_file, section, left_out):
    chosen = [form for form in FORMS if form != left_out]
    overrides = tuple(f"{section}.softmax.{form}={FORMS[form]}" for form in chosen)
    message = rf"{section}\.softmax: found {' and '.join(chosen)}, which are different forms"
    with pytest.raises(ConfigError, match=message):
        load_run_config(cascade_file, overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "pre_ranking.replicas=3",
            r"pre_ranking\.batch_size 512 is not a multiple of pre_ranking\.replicas 3",
        ),
        (
            "pre_ranking={replicas: 2, cached_chunks: 4}",
            r"pre_ranking: cached_chunks is 4 and replicas 2; gradients are cached in one replica",
        ),
        ("pre_ranking.max_steps=3", r"pre_ranking: set exactly one of epochs and max_steps"),
        ("pre_ranking.models=[{kind: plain}]", r"pre_ranking\.models\.0"),
        ("pre_ranking.models=[{kind: inttower, heads: 3}]", "unknown key 'heads'"),
        ("pre_ranking.list_terms.pointwise=-1", r"list_terms\.pointwise: .*greater than or equal"),
        ("pre_ranking.list_size=0", r"pre_ranking\.list_size: .*greater than or equal to 1"),
        ("pre_ranking.refit=true", "unknown key 'refit'"),
        ("training.softmax.same_tower=candidate", r"softmax\.same_tower"),
        ("training.softmax.cross_batch_memory=-1", r"cross_batch_memory: .*greater than or equal"),
        ("training.terms.contrastive_interaction={temperature: 0}", "greater than or equal"),
        ("training.terms.category_alignment={}", r"category_alignment\.feature: Field required"),
    ],
)
def test_mistakes_of_a_section_are_explained(cascade_file, override, message):
    with pytest.raises(ConfigError, match=message):
        load_run_config(cascade_file, (override,))


@pytest.mark.parametrize("kind", ["mol", "cold"])
def test_a_score_of_its_own_is_not_for_the_fused_operation(cascade_file, kind):
    members = f"pre_ranking.models=[{{kind: inttower}}, {{kind: {kind}}}]"
    overrides = ("export.fused_ops=true", members)
    with pytest.raises(ConfigError, match=rf"models\.1\.kind is {kind}, and export\.fused_ops"):
        load_run_config(cascade_file, overrides)
    for override in overrides:
        load_run_config(cascade_file, (override,))


def test_paths_of_documents_may_start_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(DATA_VARIABLE, "~/data")
    config = RunConfig(name="a", spec="~/spec.yaml")
    run = tmp_path / "runs" / "a.yaml"
    assert spec_path(config, run) == tmp_path / "spec.yaml"
    assert data_root(config, run) == tmp_path / "data"
    config = config.model_copy(update={"spec": "../b.yaml", "data_root": "~/c"})
    assert spec_path(config, run) == tmp_path / "b.yaml"
    assert data_root(config, run) == tmp_path / "c"
