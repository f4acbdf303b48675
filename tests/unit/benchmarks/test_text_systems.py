import pytest

from pipelines.comparing.planned_runs import load_plan
from tests.benchmarks.text_systems.__main__ import GRID, REFERENCE, SETS, main, table
from tests.benchmarks.text_systems.measuring import METRICS, Measured, Served
from tfrs_twotower.config import PlainTowerConfig

BUNDLE = Served(512.0, 5.9, 3e-8)
TIMES = {REFERENCE: 1.25, "distilled": 3.5, "ance": 1.0}


@pytest.fixture(scope="module")
def plan():
    return load_plan([GRID])


def test_every_system_has_one_encoder_and_no_settings_of_its_own(plan):
    """Rows differ in what they are named after; width, batch and steps are those of one config."""
    for run in plan:
        name, training = run.label, run.config.training
        stages = [run.config.model, *(run.config.pre_ranking or PlainRun).models]
        assert {model.embedding_dim for model in stages} == {128}, name
        assert training.batch_size == 256
        assert training.epochs == (0 if name in ("bm25", "untrained") else 8)
        assert run.config.index.server == "stock"
    names = {
        name: [run.label for run in plan if run.name == f"{name}-{run.label}"] for name in SETS
    }
    assert names["vaswani"][0] == names["medquad"][0] == REFERENCE
    assert set(names["medquad"]) < set(names["vaswani"])


class PlainRun:
    models = ()


def test_the_reference_is_a_plain_two_tower(plan):
    (run,) = (run for run in plan if run.name == f"vaswani-{REFERENCE}")
    assert isinstance(run.config.model, PlainTowerConfig)
    assert run.config.training.ance is None
    assert not run.config.training.refit


def of(*stages, lift=0.0):
    """Values of four queries, by stage."""
    values = {
        stage: [[0.25 + lift + 0.125 * place, 0.5, 0.5, 0.5] for _ in METRICS]
        for place, stage in enumerate(stages)
    }
    return Measured(["a", "b", "c", "d"], values, BUNDLE)


def test_a_cross_encoder_is_a_row_that_is_not_served():
    systems = {
        REFERENCE: [of("served")],
        "distilled": [of("served", "cross_encoder", lift=0.125)],
    }
    lines = table("planted", systems, TIMES).splitlines()
    assert lines[0].startswith("planted: 4 test queries, 1 seed; p of ndcg@10, over queries alone.")
    means = [" | ".join([f"0.{mean}"] * len(METRICS)) for mean in ("4375", "4688", "5000")]
    assert lines[4] == f"| two_tower | {means[0]} |  | 1.25 | 512 | 5.9 | to 3e-08 |"
    assert lines[5].startswith(f"| distilled | {means[1]} | +0.0312 (")
    assert lines[6].startswith(f"| cross_encoder | {means[2]} | +0.0625 (")
    assert lines[6].endswith("|  |  |  | no |")


def test_means_and_p_of_several_seeds():
    systems = {
        REFERENCE: [of("served"), of("served")],
        "ance": [of("served", lift=0.25), of("served", lift=0.125)],
    }
    text = table("planted", systems, TIMES)
    assert "2 seeds; p of ndcg@10.\n" in text
    # Means .4375 + (.0625 + .03125) / 2; over the seeds t = 3 with one degree of freedom, p = .205,
    # and over the queries t = 1 with three, p = .391, times the six metrics, at most 1.
    assert "| ance | 0.4844 |" in text
    assert "+0.0469 (1.000)" in text


def test_a_system_that_is_not_there_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "vaswani", "--systems", "colbert,splade"])
    assert "--systems: splade is none of two_tower, bm25" in capsys.readouterr().err
