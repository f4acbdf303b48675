import pytest

from pipelines.stages.later_needs import check_needs, without_report
from pipelines.stages.sequence import STAGE_NAMES
from tests.fixtures.tiny import tiny_run_config
from tfrs_twotower.errors import ConfigError

ENOUGH = {"candidates": 8, "validation_queries": 3, "test_queries": 3}
NO_VALIDATION = {**ENOUGH, "validation_queries": 0}
NEITHER = {**NO_VALIDATION, "test_queries": 0}
CASCADE = {"pre_ranking": {}}
EASE = {"pre_ranking": {"models": [], "ease": {"max_candidates": 7}}}
TEACHER = {"pre_ranking": {"mining": {"teacher": "ease"}}, "evaluate": {"ease_max_candidates": 7}}

ANCE = {"training": {"ance": {}}}
ANCE_OF_EASE = {
    "training": {"ance": {"teacher": "ease", "ranks": [1, 7], "negatives": 1}},
    "evaluate": {"ease_max_candidates": 7},
}


@pytest.mark.parametrize(
    ("sections", "counts", "stage", "message"),
    [
        ({"training": {"refit": True}}, NO_VALIDATION, "train", "training.refit is set, but the s"),
        (CASCADE, NO_VALIDATION, "train-pre-ranker", "pre_ranking fits .* no validation query"),
        (EASE, ENOUGH, "train-pre-ranker", "ease is set, but the corpus has 8 .* more than pre_r"),
        (TEACHER, ENOUGH, "train-pre-ranker", "teacher is ease, .* more than evaluate.ease_max_c"),
        (ANCE, ENOUGH, "train", "ance.ranks is .10, 200., but the corpus has 8 .* to 7 or less"),
        (ANCE_OF_EASE, ENOUGH, "train", "ance.teacher is ease, but the corpus has 8 candidates"),
        ({"index": {"kind": "ivf"}}, NEITHER, "build-index", "index.kind ivf .* has neither. Set"),
        ({"index": {"vectors": "int8"}}, NEITHER, "build-index", "brute_force with int8 vectors"),
        ({"export": {"shards": 9}}, ENOUGH, "export", "export.shards is 9, but the corpus has 8"),
    ],
)
def test_what_the_data_lacks_for_a_stage(sections, counts, stage, message):
    config = tiny_run_config(**sections)
    with pytest.raises(ConfigError, match=f"^run 'tiny': .*{message}"):
        check_needs(config, counts, [stage])
    check_needs(config, counts, [name for name in STAGE_NAMES if name != stage])
    check_needs(config, {}, STAGE_NAMES)


def test_a_corpus_that_is_too_large_to_invert_may_be_truncated():
    wide = {"kind": "ease", "max_candidates": 7}
    with pytest.raises(ConfigError, match=r"Set model\.wide\.kind: truncated, or raise"):
        check_needs(tiny_run_config(model={"wide": wide}), ENOUGH, ["train"])
    stage = {"models": [], "ease": {"max_candidates": 7, "kind": "truncated"}}
    truncated = {"model": {"wide": {**wide, "kind": "truncated"}}, "pre_ranking": stage}
    check_needs(tiny_run_config(**truncated), ENOUGH, STAGE_NAMES)


def test_every_lack_is_one_line():
    config = tiny_run_config(training={"refit": True}, export={"shards": 9})
    with pytest.raises(ConfigError) as caught:
        check_needs(config, NO_VALIDATION, STAGE_NAMES)
    assert len(str(caught.value).splitlines()) == 2


def test_a_key_that_signs_nothing_is_said_before_training(tmp_path, monkeypatch):
    monkeypatch.setenv("TWOTOWER_SIGNING_KEY", str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match=r"none\.pem \(\$TWOTOWER_SIGNING_KEY\): holds no"):
        check_needs(tiny_run_config(), ENOUGH, STAGE_NAMES)
    check_needs(tiny_run_config(), ENOUGH, ["train"])


def test_why_there_is_no_report():
    assert without_report(ENOUGH) == ""
    assert without_report({}) == ""
    assert without_report(NEITHER).startswith("the split has no test query")
