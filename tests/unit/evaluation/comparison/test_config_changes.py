from tests.fixtures.tiny import tiny_run_config
from tfrs_twotower.evaluation.comparison.comparison_tables import config_changes


def changes_of(first, other):
    return {key: change.as_json() for key, change in config_changes(first, other).items()}


def test_changed_settings_by_key():
    base = tiny_run_config()
    training = base.training.model_dump(exclude_unset=True)
    other = tiny_run_config(training={**training, "batch_size": 32, "terms": {"mimic": {}}}, seed=3)
    assert changes_of(base, other) == {
        "training.batch_size": {"from": 64, "to": 32},
        "training.terms.mimic": {
            "from": None,
            "to": {"query_weight": 0.5, "candidate_weight": 0.5},
        },
    }
    assert changes_of(base, base) == {}


def test_another_kind_of_tower_is_not_a_change_of_every_default():
    changed = changes_of(tiny_run_config(), tiny_run_config(model={"kind": "dat"}))
    assert changed["model.kind"] == {"from": "plain", "to": "dat"}
    assert not any("augmentation" in key for key in changed)


def test_a_stated_default_is_no_change():
    training = tiny_run_config().training.model_dump(exclude_unset=True)
    assert (
        changes_of(tiny_run_config(), tiny_run_config(training={**training, "refit": False})) == {}
    )


def test_members_of_a_pre_ranker_are_compared_one_by_one():
    def config(*models):
        return tiny_run_config(pre_ranking={"models": list(models)})

    small, gated = {"kind": "inttower"}, {"kind": "inttower", "field_gate": "se"}
    assert changes_of(config(small, small), config(gated, small)) == {
        "pre_ranking.models.0.field_gate": {"from": "light_se", "to": "se"}
    }
    fewer = changes_of(config(small, small), config(small))
    assert list(fewer) == ["pre_ranking.models.1"]
    assert list(fewer["pre_ranking.models.1"]) == ["from"]
    none = changes_of(config(small), config())
    assert list(none) == ["pre_ranking.models.0"]


def test_a_spec_is_named_by_its_file():
    changes = changes_of(tiny_run_config(spec="a/one.yaml"), tiny_run_config(spec="b/two.yaml"))
    assert changes == {"spec": {"from": "one.yaml", "to": "two.yaml"}}
