import shutil

import pytest

from serving.bundle.gate import check_release, kept_measures
from serving.bundle.server_files import write_models_config
from tests.unit.serving.fake_versions import publish_fake
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.config import GateConfig
from tfrs_twotower.errors import BundleError

OLD = {"recall@10": 0.4, "overlap@10": 1.0, "coverage@10": 0.5}


@pytest.fixture
def bundle(tmp_path):
    publish_fake(tmp_path / "b", 7, measures=OLD)
    return tmp_path / "b"


def test_the_first_version_has_nothing_to_lose(tmp_path):
    check_release(tmp_path / "b", 1, {"recall@10": 0.0}, GateConfig())


@pytest.mark.parametrize(
    ("name", "least"),
    [("recall@10", 0.4 * (1 - 0.05)), ("overlap@10", 0.98), ("coverage@10", 0.5 * (1 - 0.2))],
)
def test_a_fall_is_relative_and_may_reach_its_limit(bundle, name, least):
    check_release(bundle, 8, {**OLD, name: least}, GateConfig())
    with pytest.raises(BundleError, match=f"{name} is"):
        check_release(bundle, 8, {**OLD, name: least - 1e-4}, GateConfig())


def test_the_letter_names_both_versions_and_figures_and_the_way_round(bundle):
    measures = {"recall@10": 0.3, "overlap@10": 0.9, "coverage@10": 0.5}
    with pytest.raises(
        BundleError,
        match=r"version 8 is refused by the release gate: recall@10 is 0\.3000, 25\.0% less than "
        r"the 0\.4000 of version 7 \(allowed 5\.0%\); overlap@10 is 0\.9000.*"
        r"--set export\.gate\.max_recall_drop=null --set export\.gate\.max_overlap_drop=null\.",
    ):
        check_release(bundle, 8, measures, GateConfig())


def test_a_gate_that_is_switched_off(bundle):
    check_release(bundle, 8, {**OLD, "recall@10": 0.0}, GateConfig(max_recall_drop=None))


def test_a_longer_list_is_another_measure(bundle):
    check_release(bundle, 8, {"recall@20": 0.1}, GateConfig())


def test_what_the_served_version_lacks_is_compared_with_an_earlier_one(bundle):
    publish_fake(bundle, 8, measures={"overlap@10": 0.985})
    with pytest.raises(BundleError, match=r"recall@10 .* of version 7"):
        check_release(bundle, 9, {"recall@10": 0.1, "overlap@10": 0.97}, GateConfig())
    check_release(bundle, 9, {"overlap@10": 0.97}, GateConfig())


def test_refreshes_hand_on_what_they_could_not_measure(bundle):
    measured = {"overlap@10": 0.99}
    for version in (8, 9):
        before = read_manifest(bundle / str(version - 1), "bundle")
        earlier = kept_measures(before, measured)
        publish_fake(bundle, version, measures=measured, earlier_measures=earlier)
    shutil.rmtree(bundle / "7")
    shutil.rmtree(bundle / "8")
    with pytest.raises(BundleError, match=r"recall@10 .* 0\.4000 of version 7"):
        check_release(bundle, 10, {"recall@10": 0.1}, GateConfig())
    check_release(bundle, 10, {"overlap@10": 0.98}, GateConfig())


def test_a_version_that_cannot_be_read_is_passed_over(bundle):
    (publish_fake(bundle, 8) / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="version 7"):
        check_release(bundle, 9, {"recall@10": 0.1}, GateConfig())


def test_a_version_that_was_rolled_back_from_is_no_standard(bundle):
    publish_fake(bundle, 8, measures={"recall@10": 0.1})
    check_release(bundle, 9, {"recall@10": 0.1}, GateConfig())
    write_models_config(bundle, 7)
    with pytest.raises(BundleError, match="version 7"):
        check_release(bundle, 9, {"recall@10": 0.1}, GateConfig())
