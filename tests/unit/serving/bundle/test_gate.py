import re
import shutil

import pytest

from serving.bundle.gate import Figures, check_release, kept_measures
from serving.bundle.server_files import write_models_config
from serving.bundle.versions import shard_name
from tests.unit.serving.fake_versions import publish_fake
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.config import GateConfig
from tfrs_twotower.config.run_config import apply_override
from tfrs_twotower.errors import BundleError

OLD = {"recall@10": 0.4, "overlap@10": 1.0, "coverage@10": 0.5}


def check(bundle, version, measures=None, gate=None, candidates=100, k=10):
    figures = Figures(candidates, k, measures or {})
    bundles = bundle if isinstance(bundle, list) else [bundle]
    check_release(bundles, version, figures, gate or GateConfig())


@pytest.fixture
def bundle(tmp_path):
    publish_fake(tmp_path / "b", 7, measures=OLD)
    return tmp_path / "b"


def test_the_first_version_has_nothing_to_lose(tmp_path):
    check(tmp_path / "b", 1, {"recall@10": 0.0})


@pytest.mark.parametrize(
    ("name", "least"),
    [("recall@10", 0.4 * (1 - 0.05)), ("overlap@10", 0.98), ("coverage@10", 0.5 * (1 - 0.2))],
)
def test_a_fall_is_relative_and_may_reach_its_limit(bundle, name, least):
    check(bundle, 8, {**OLD, name: least})
    with pytest.raises(BundleError, match=f"{name} is"):
        check(bundle, 8, {**OLD, name: least - 1e-4})


def test_the_letter_names_both_versions_and_figures_and_the_way_round(bundle):
    measures = {"recall@10": 0.3, "overlap@10": 0.9, "coverage@10": 0.5}
    with pytest.raises(
        BundleError,
        match=r"version 8 is refused by the release gate: recall@10 is 0\.3000, 25\.0% less than "
        r"the 0\.4000 of version 7 \(allowed 5\.0%\); overlap@10 is 0\.9000.*"
        r"--set export\.gate\.max_recall_drop=0\.26 --set export\.gate\.max_overlap_drop=0\.1 "
        r"\(in Python: GateConfig\(max_recall_drop=0\.26, max_overlap_drop=0\.1\)\)",
    ):
        check(bundle, 8, measures)


def test_the_way_round_that_it_names_is_one(bundle):
    for candidates, k, recall in [(79, 10, 0.3), (201, 9, 0.316), (5, 5, 0.0), (1000, 10, 0.2)]:
        measures = {**OLD, "recall@10": recall, "overlap@10": 1.0 - candidates / 1001}
        with pytest.raises(BundleError) as refusal:
            check(bundle, 8, measures, candidates=candidates, k=k)
        data = {}
        for option in re.findall(r"--set (\S+)", str(refusal.value)):
            apply_override(data, option)
        gate = GateConfig(**data["export"]["gate"])
        check(bundle, 8, measures, gate, candidates=candidates, k=k)
        arguments = ", ".join(f"{key}={value}" for key, value in data["export"]["gate"].items())
        assert f"GateConfig({arguments})" in str(refusal.value)
        assert gate.max_recall_drop == pytest.approx(1.0 - recall / 0.4, abs=0.0101)


def test_a_gate_that_is_switched_off(bundle):
    check(bundle, 8, {**OLD, "recall@10": 0.0}, GateConfig(max_recall_drop=None))


def test_a_longer_list_holds_the_shorter_one(bundle):
    check(bundle, 8, {"recall@20": 0.4, "overlap@20": 0.1}, k=20)
    with pytest.raises(BundleError, match=r"recall@20 .* 0\.4000 of recall@10 in version 7"):
        check(bundle, 8, {"recall@20": 0.1}, k=20)
    shorter = GateConfig(allow_smaller_k=True)
    check(bundle, 8, {"recall@5": 0.1}, shorter, k=5)


@pytest.mark.parametrize(
    ("candidates", "complaint"),
    [
        (79, r"it has 79 candidates, 21\.0% fewer than the 100 of version 7 \(allowed 20\.0%\)"),
        (201, r"it has 201 candidates, 101\.0% more than the 100 of version 7 \(allowed 100\.0%\)"),
    ],
)
def test_the_number_of_candidates_has_limits_too(bundle, candidates, complaint):
    # Every share of the smaller corpus is better.
    with pytest.raises(BundleError, match=complaint):
        check(bundle, 8, dict.fromkeys(OLD, 1.0), candidates=candidates)
    within = {79: 80, 201: 200}[candidates]
    check(bundle, 8, dict.fromkeys(OLD, 1.0), candidates=within)
    key = {79: "max_shrink", 201: "max_growth"}[candidates]
    check(bundle, 8, gate=GateConfig(**{key: None}), candidates=candidates)


def test_shorter_lists_are_refused(bundle):
    with pytest.raises(
        BundleError, match=r"lists have 9 candidates, .* version 7 for 10.*allow_smaller_k=true"
    ):
        check(bundle, 8, k=9)
    check(bundle, 8, gate=GateConfig(allow_smaller_k=True), k=9)
    check(bundle, 8, k=11)


def test_new_candidates_that_nobody_is_answered_are_no_fall_of_coverage(bundle):
    # 50 of 100 were answered, and 45 of 190 are; 39 would be a fall by more than a fifth.
    check(bundle, 8, {"coverage@10": 45 / 190}, candidates=190)
    with pytest.raises(
        BundleError, match=r"coverage@10 is 0\.3900 of 100 candidates, 22\.0% less than the 0\.5000"
    ):
        check(bundle, 8, {"coverage@10": 39 / 190}, candidates=190)


def test_a_smaller_corpus_is_measured_by_its_share(bundle):
    # 45 of 90 are answered: as large a share as 50 of 100.
    check(bundle, 8, {"coverage@10": 0.5}, candidates=90)
    with pytest.raises(BundleError, match=r"coverage@10 is 0\.3900,"):
        check(bundle, 8, {"coverage@10": 0.39}, candidates=90)


def test_shards_are_compared_together(tmp_path):
    bundles = [tmp_path / shard_name("b", shard, 2) for shard in range(2)]
    for bundle, candidates, k in zip(bundles, (60, 40), (10, 8), strict=True):
        publish_fake(bundle, 7, candidates=candidates, k=k, measures=OLD)
    check(bundles, 8, OLD, candidates=80, k=8)
    with pytest.raises(BundleError, match=r"00000-of-00002, .*00001-of.*the 100 of version"):
        check(bundles, 8, OLD, candidates=79, k=8)
    with pytest.raises(BundleError, match="may ask version 7 for 8"):
        check(bundles, 8, OLD, candidates=100, k=7)


def test_what_the_served_version_lacks_is_compared_with_an_earlier_one(bundle):
    publish_fake(bundle, 8, measures={"overlap@10": 0.985})
    with pytest.raises(BundleError, match=r"recall@10 .* of version 7"):
        check(bundle, 9, {"recall@10": 0.1, "overlap@10": 0.97})
    check(bundle, 9, {"overlap@10": 0.97})


def test_refreshes_hand_on_what_they_could_not_measure(bundle):
    measured = {"overlap@10": 0.99}
    for version in (8, 9):
        before = read_manifest(bundle / str(version - 1), "bundle")
        earlier = kept_measures(before, measured, 100)
        publish_fake(bundle, version, measures=measured, earlier_measures=earlier)
    shutil.rmtree(bundle / "7")
    shutil.rmtree(bundle / "8")
    with pytest.raises(BundleError, match=r"recall@10 .* 0\.4000 of version 7"):
        check(bundle, 10, {"recall@10": 0.1})
    check(bundle, 10, {"overlap@10": 0.98})


def test_a_version_that_cannot_be_read_is_passed_over(bundle):
    (publish_fake(bundle, 8) / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="version 7"):
        check(bundle, 9, {"recall@10": 0.1})


def test_a_version_that_was_rolled_back_from_is_no_standard(bundle):
    publish_fake(bundle, 8, measures={"recall@10": 0.1})
    check(bundle, 9, {"recall@10": 0.1})
    write_models_config(bundle, 7)
    with pytest.raises(BundleError, match="version 7"):
        check(bundle, 9, {"recall@10": 0.1})
