import pytest
import yaml

from pipelines.cli.compare_command import compare
from pipelines.comparing.planned_runs import load_plan
from pipelines.comparing.seed_runs import SeedRun
from tests.fixtures.tiny import tiny_spec
from tests.unit.pipelines.comparing.documents import dump, grid, write_documents
from tfrs_twotower.config import load_run_config
from tfrs_twotower.errors import ConfigError


@pytest.fixture
def documents(tmp_path):
    return write_documents(tmp_path)


def named(plan):
    return {run.name: run for run in plan}


def test_run_configs_are_called_after_their_files(documents):
    plan = load_plan([documents / "one.yaml", documents / "two.yaml"], ["training.epochs=3"])
    assert [(run.name, run.label) for run in plan] == [("one", "one"), ("two", "two")]
    assert {run.config.training.epochs for run in plan} == {3}
    assert plan[0].config.spec == str(documents / "tiny.yaml")
    assert plan[0].config.data_root == str(documents / "data")


def test_rows_change_the_run_config(documents):
    rows = {
        "plain": {},
        "empty": None,
        "values": {
            "set": {
                "training.optimizer.learning_rate": 1e-05,
                "training.terms.mimic": {},
                "evaluate.baselines": ["ease"],
                "model": {"kind": "dat", "embedding_dim": 8},
            }
        },
    }
    plan = named(load_plan([grid(documents, rows)]))
    assert list(plan) == ["plain", "empty", "values"]
    assert plan["plain"].config == plan["empty"].config
    config = plan["values"].config
    assert config.training.optimizer.learning_rate == 1e-05
    assert config.training.terms.mimic.query_weight == 0.5
    assert config.evaluate.baselines == ("ease",)
    assert (config.model.kind, config.model.embedding_dim) == ("dat", 8)
    assert config.training.epochs == 5


def test_rows_for_several_run_configs(documents):
    rows = {"all": {}, "some": {"only": ["two"]}}
    plan = load_plan([grid(documents, rows, base=["one.yaml", "two.yaml"])])
    assert [(run.name, run.label) for run in plan] == [
        ("one-all", "all"), ("two-all", "all"), ("two-some", "some"),
    ]  # fmt: skip


def test_a_row_may_have_another_spec_beside_the_grid(documents):
    inner = documents / "grids"
    inner.mkdir()
    spec = tiny_spec().model_dump(mode="json", exclude_unset=True)
    dump(inner / "other.yaml", {**spec, "description": "Another."})
    path = grid(inner, {"same": {}, "other": {"spec": "other.yaml"}}, base="../one.yaml")
    same, other = load_plan([path])
    assert other.config.spec == str(inner / "other.yaml")
    assert same.data != other.data


def test_the_settings_survive_being_written(documents):
    rows = {"a": {"set": {"training.optimizer.learning_rate": 1e-05, "training.refit": True}}}
    (run,) = load_plan([grid(documents, rows)])
    seed_run = SeedRun(run, 3, documents / "runs" / "a")
    seed_run.write_config()
    assert load_run_config(seed_run.config_path, seed_run.overrides).seed == 3
    assert load_run_config(seed_run.config_path) == run.config
    assert seed_run.command == (
        f"twotower run {seed_run.config_path} --workdir {seed_run.workdir} --for evaluate "
        "--set seed=3 --set 'evaluate.baselines=[hybrid]'"
    )


def test_baselines_are_fitted_once_for_runs_that_would_fit_the_same(documents):
    rows = {
        "wide": {"set": {"model.embedding_dim": 32}},
        "early": {"set": {"training.epochs": 2}},
        "refit": {"set": {"training.refit": True}},
        "short": {"set": {"evaluate.ks": [5]}},
        "sharded": {"set": {"preprocess.num_shards": 3}},
    }
    plan = named(load_plan([grid(documents, rows)]))
    assert {name: run.baselines_of for name, run in plan.items()} == {
        "wide": "early", "early": "early", "refit": "refit", "short": "short",
        "sharded": "sharded",
    }  # fmt: skip
    turned = named(load_plan([grid(documents, dict(reversed(rows.items())))]))
    assert {name: run.baselines_of for name, run in turned.items()} == {
        name: run.baselines_of for name, run in plan.items()
    }
    assert plan["early"].baselines(0) is None
    assert plan["early"].baselines(1) == plan["wide"].baselines(0) == ("hybrid",)
    assert plan["wide"].data == plan["refit"].data != plan["sharded"].data


def test_hybrid_is_asked_for_only_where_there_is_one(documents):
    rows = {"a": {"set": {"evaluate.baselines": ["ease"]}}}
    (run,) = load_plan([grid(documents, rows)])
    assert run.baselines(1) == ()
    spec = tiny_spec().model_dump(mode="json", exclude_unset=True)
    features = spec["query"]["features"]
    spec["query"]["features"] = [f for f in features if f["kind"] != "text"]
    dump(documents / "tiny.yaml", spec)
    (run,) = load_plan([documents / "one.yaml"])
    assert run.baselines(1) == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"base": "one.yaml", "rows": {}}, "grid.yaml: rows: "),
        ({"rows": {"a": {}}}, "grid.yaml: base: Field required"),
        ({"base": "one.yaml", "rows": {"a": {"sett": {}}}}, "did you mean 'set'"),
        ({"base": "one.yaml", "rows": {"a/b": {}}}, "rows.a/b"),
        ({"base": "one.yaml", "rows": {"a": {"set": {"trainig.epochs": 3}}}}, "row a: .*trainig"),
        ({"base": "one.yaml", "rows": {"a": {"set": {"name.x": 3}}}}, "row a: --set name.x=3"),
        ({"base": "ome.yaml", "rows": {"a": {}}}, "row a: .*no such file .did you mean 'one.yaml'"),
        ({"base": "one.yaml", "rows": {"a": {"only": ["two"]}}}, "rows.a.only: found 'two'"),
        ({"base": ["one.yaml", "x/one.yaml"], "rows": {"a": {}}}, "the same file name: one, one"),
        (
            {"base": "one.yaml", "rows": {"a": {"set": {"evaluate.baselines": ["ease"] * 2}}}},
            "row a: run 'one': evaluate.baselines names ease twice",
        ),
    ],
)
def test_a_wrong_grid_is_one_line(documents, content, said):
    path = dump(documents / "grid.yaml", content)
    with pytest.raises(ConfigError, match=said) as found:
        load_plan([path])
    assert "\n" not in str(found.value)


def test_a_row_that_stands_twice_is_refused(documents):
    path = documents / "grid.yaml"
    path.write_text("base: one.yaml\nrows:\n  a: {}\n  a: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="the key 'a' is given twice"):
        load_plan([path])


def test_two_runs_of_one_name_are_refused(documents):
    with pytest.raises(ConfigError, match="the name 'one' occurs twice in this comparison"):
        load_plan([documents / "one.yaml", grid(documents, {"one": {}})])


def test_the_example_in_the_help_is_a_grid(documents):
    example = (compare.__doc__ or "").partition("in it:")[2].partition("\b")[2]
    rows = yaml.safe_load(example)["rows"]
    del rows["with_titles"]
    assert len(load_plan([grid(documents, rows)])) == 3
