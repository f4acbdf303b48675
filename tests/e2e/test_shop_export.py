"""A shop's export from `init` to an answered query, with no hand on the files between."""

import json

import pytest

from tests.e2e.command_line import twotower
from tests.fixtures.shop_export import DIALECTS, write_shop

pytestmark = pytest.mark.e2e
QUICK = ("training.epochs=6", "evaluate.num_bootstrap=20", "evaluate.ease_lambda=10")
ONE_FOR_ALL = "german_short"
"""The dialect of the default suite: it has every flaw that `init` must see."""


@pytest.mark.parametrize(
    "dialect",
    [
        pytest.param(name, marks=() if name == ONE_FOR_ALL else pytest.mark.slow)
        for name in DIALECTS
    ],
)
def test_from_the_export_to_an_answer(tmp_path, dialect):
    orders, articles, customers = write_shop(tmp_path / "tables", dialect)
    begun = twotower(
        "init",
        *("--interactions", orders, "--candidates", articles, "--queries", customers),
        *("--out", tmp_path, "--name", "shop", "--json"),
    )
    workdir = tmp_path / "work"
    settings = [part for setting in QUICK for part in ("--set", setting)]
    twotower("run", json.loads(begun.stdout)["run"], "--workdir", workdir, *settings)
    report = json.loads((workdir / "report" / "evaluation.json").read_text(encoding="utf-8"))
    recall = {
        name: system["metrics"]["recall@10"]["mean"] for name, system in report["systems"].items()
    }
    assert recall["retrieval"] > recall["popularity"]  # a shelf is learned, whatever its name
    assert report["leakage_check"]["verdict"] == "clean"

    bundle = workdir / "bundle" / "shop"
    shown = twotower("query", bundle, "--k", 3).stdout
    assert any(word in shown for word in ("Handwerk", "Edelstahl", "Natur"))  # names, not prices
