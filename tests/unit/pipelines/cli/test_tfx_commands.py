"""`twotower tfx` where there is no TFX."""

import pytest

from pipelines.cli import tfx_commands


@pytest.fixture
def without_tfx(monkeypatch):
    monkeypatch.setattr(tfx_commands, "is_importable", lambda name: name != "tfx")


@pytest.mark.parametrize(
    "command",
    [
        ("run", "r.yaml", "--root", "t", "--push-to", "s"),
        ("compile", "r.yaml", "--root", "t", "--push-to", "s", "--image", "i", "--out", "o"),
        ("lineage", "--root", "t"),
    ],
)
def test_the_environment_that_has_it_is_named(call, without_tfx, command):
    result = call("tfx", *command)
    assert result.code == 2
    assert "needs TFX, which this environment lacks" in result.err
    assert "make install-tfx" in result.err


def test_floors_are_metrics_and_numbers(call):
    assert tfx_commands._typed_floors(["recall@20=0.1", "ndcg@10=1e-2"]) == {
        "recall@20": 0.1,
        "ndcg@10": 0.01,
    }
    with pytest.raises(tfx_commands.typer.BadParameter, match="found 'recall@20', expected METRIC"):
        tfx_commands._typed_floors(["recall@20"])
