"""Settings of `training` and `pre_ranking` that exclude each other."""

import pytest

from tfrs_twotower.config import load_run_config
from tfrs_twotower.errors import ConfigError

SECTIONS = ("training", "pre_ranking")
FORMS = {"refined_logq": "true", "num_hard_negatives": "3", "same_tower": "both"}


@pytest.fixture
def run_file(tmp_path):
    path = tmp_path / "toy_run.yaml"
    path.write_text("spec: toy.yaml\npre_ranking: {}\n")
    return path


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("form", FORMS)
def test_one_form_of_the_softmax_is_fine(run_file, section, form):
    config = load_run_config(run_file, (f"{section}.softmax.{form}={FORMS[form]}",))
    assert getattr(getattr(config, section).softmax, form)


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("left_out", FORMS)
def test_two_forms_of_the_softmax_are_refused(run_file, section, left_out):
    chosen = [form for form in FORMS if form != left_out]
    overrides = tuple(f"{section}.softmax.{form}={FORMS[form]}" for form in chosen)
    message = rf"{section}\.softmax: found {' and '.join(chosen)}, which are different forms"
    with pytest.raises(ConfigError, match=message):
        load_run_config(run_file, overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "pre_ranking.replicas=3",
            r"pre_ranking\.batch_size 512 is not a multiple of pre_ranking\.replicas 3",
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
def test_mistakes_are_explained(run_file, override, message):
    with pytest.raises(ConfigError, match=message):
        load_run_config(run_file, (override,))
