"""`init` and `run`, untouched, against a rival that knows how a shop's customers were planted."""

import json

import pytest

from tests.e2e.command_line import twotower
from tests.fixtures.planted_shop import export_shop, ndcg_at_10, plant_shop, profile_scores

pytestmark = pytest.mark.e2e
QUICK = ("evaluate.num_bootstrap=20", "evaluate.ease_lambda=100", "evaluate.item_knn_neighbours=50")


def test_what_init_writes_for_a_shop_runs_to_the_bundle(tmp_path):
    """Both stages with every part in closed form, on tables that are small but not tiny."""
    shop = plant_shop(num_customers=150, num_products=510, num_orders=1500)
    tables = export_shop(shop, tmp_path / "tables")
    begun = twotower(
        *("init", "--interactions", tables[0], "--candidates", tables[1]),
        *("--out", tmp_path, "--name", "shop", "--json"),
    )
    run, workdir = json.loads(begun.stdout)["run"], tmp_path / "work"
    twotower(
        *("run", run, "--workdir", workdir, "--to", "export"),
        *("--set", "training.epochs=2"),
    )
    weights = json.loads((workdir / "pre_ranker" / "combination.json").read_text("utf-8"))
    assert {"ease_all", "item_knn_all", "taste_category", "taste_brand", "log_count"} <= set(
        weights["features"]
    )
    shown = twotower("query", workdir / "bundle" / "shop", "--query-id", "C20007", "--k", 3).stdout
    assert "Modell" in shown


@pytest.mark.slow
def test_tastes_are_found_that_nobody_told(tmp_path):
    shop = plant_shop()
    tables = export_shop(shop, tmp_path / "tables")
    begun = twotower(
        *("init", "--interactions", tables[0], "--candidates", tables[1]),
        *("--out", tmp_path, "--name", "shop", "--json"),
    )
    workdir = tmp_path / "work"
    settings = [part for setting in QUICK for part in ("--set", setting)]
    twotower("run", json.loads(begun.stdout)["run"], "--workdir", workdir, *settings)
    report = json.loads((workdir / "report" / "evaluation.json").read_text(encoding="utf-8"))
    measured = {name: s["metrics"]["ndcg@10"] for name, s in report["systems"].items()}

    training = shop.minute < shop.minute[int(len(shop.minute) * 0.9)]
    profile, asked = ndcg_at_10(profile_scores(shop, training), shop, training)
    assert abs(measured["cascade"]["queries"] - asked) <= 3  # the same test, to a rounded cut-off
    assert measured["cascade"]["mean"] >= 0.8 * profile
    baselines = {"popularity", "recent_popularity", "item_knn", "ease", "rdlae", "ials"}
    assert measured["cascade"]["mean"] > max(measured[name]["mean"] for name in baselines)
