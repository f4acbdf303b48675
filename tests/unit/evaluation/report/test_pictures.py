"""The pictures of the report."""

from dataclasses import replace

import pytest

from tests.unit.evaluation.documents import evaluation_document, figure, system_figures
from tfrs_twotower.evaluation.evaluated_data import LogLine
from tfrs_twotower.evaluation.report.stage_pictures import (
    MeasuredPoint,
    draw_tradeoff,
    draw_training,
    loss_points,
    taken_point,
    terms_of,
    verdict,
)
from tfrs_twotower.evaluation.report.system_pictures import draw_slices
from tfrs_twotower.index.quality import IndexQuality

SWEEP = [
    {"reorder": 100, "overlap": 0.88, "p50_ms": 1.1},
    {"reorder": 200, "overlap": 1.0, "p50_ms": 2.6},
    {"reorder": 300, "overlap": 1.0, "p50_ms": 0.7},
]
for entry in SWEEP:
    entry |= {"worst_decile": entry["overlap"] / 2, "perturbed_overlap": entry["overlap"] / 3}


def index_quality(sweep, **parameters):
    return IndexQuality(
        kind="scann", k=10, overlap=1.0, target=0.98, num_queries=9, parameters=parameters,
        sweep=sweep, exact_p50_ms=0.8,
    )  # fmt: skip


def test_the_taken_setting_is_found_by_its_parameters_not_by_its_overlap():
    quality = index_quality(SWEEP, reorder=300)
    assert taken_point(quality) == MeasuredPoint({"reorder": 300}, overlap=1.0, p50_ms=0.7)
    assert "0.70 ms, exact search in 0.80 ms: 1.1 times faster" in verdict(quality)
    assert "needs no approximate index" in verdict(index_quality(SWEEP, reorder=200))
    assert ">300 taken<" in draw_tradeoff(quality)


@pytest.mark.parametrize("sweep", [[], [{"overlap": None, "p50_ms": 1.0}]])
def test_without_measured_points_there_is_no_tradeoff(sweep):
    assert draw_tradeoff(index_quality(sweep)) is None
    assert verdict(index_quality(sweep)) == ""
    assert draw_tradeoff(None) is None


def test_one_point_is_a_picture():
    assert "taken" in draw_tradeoff(index_quality(SWEEP[:1]))


def test_a_refit_is_a_curve_of_its_own():
    lines = [{"phase": "fit", "step": step, "loss": 9.0 - step} for step in (1, 2, 3)]
    lines[1]["validation"] = {"recall@10": 0.4, "mean_norm": 1.0}
    lines += [{"phase": "refit", "step": step, "loss": 8.0 - step} for step in (1, 2)]
    log = [LogLine.from_json(line) for line in lines]
    assert loss_points(log) == {
        "fit": [(1.0, 8.0), (2.0, 7.0), (3.0, 6.0)],
        "refit": [(1.0, 7.0), (2.0, 6.0)],
    }
    drawn = draw_training(log)
    assert "refit: training and validation" in drawn
    assert "recall@10 on validation queries" in drawn
    assert "0.400" in drawn
    assert draw_training([]) is None
    assert "validation queries" not in draw_training([LogLine(1, {"loss": 2.0})])


def test_every_term_of_the_objective_has_a_panel_of_its_own():
    names = ("retrieval", "mimic_query", "mimic_candidate", "category_alignment", "dual", "pairs")
    other = {"gradient_norm": 1.0, "learning_rate": 0.1, "examples_per_s": 9.0, "epoch": 0.5}
    lines = [
        {"phase": "fit", "step": step, "loss": 6.0, **dict.fromkeys(names, 1.0 / step), **other}
        for step in (1, 2, 3)
    ]
    lines[2]["validation"] = {"recall@10": 0.4}
    log = [LogLine.from_json(line) for line in lines]
    assert terms_of(log) == list(names)
    assert loss_points(log, "dual") == {"fit": [(1.0, 1.0), (2.0, 0.5), (3.0, 1.0 / 3)]}
    drawn = draw_training(log)
    for name in names:
        assert f">{name.replace('_', ' ')}<" in drawn
    assert drawn.count(">step<") == 2 + 3
    one = [replace(line, losses={"loss": 6.0, "retrieval": 1.0}) for line in log]
    assert ">retrieval<" not in draw_training(one)


def test_slices_that_are_the_whole_test_are_not_drawn():
    whole = {"recall@10": figure(0.5, (0.4, 0.6), 9)}
    part = {"recall@10": figure(0.7, (0.4, 0.9), 3)}

    def drawn(**slices):
        systems = {"retrieval": system_figures({"recall@10": 0.0}, slices) | {"metrics": whole}}
        return draw_slices(evaluation_document(systems=systems).systems, "recall@10")

    assert drawn(everything=whole) is None
    assert "few" in drawn(everything=whole, few=part)
    assert "all test queries" in drawn(everything=whole, few=part)
    assert "everything" not in drawn(everything=whole, few=part)
