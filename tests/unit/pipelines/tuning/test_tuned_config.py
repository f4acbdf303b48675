"""The tuned run config: the user's document, with its comments, and the changed lines explained."""

import pytest
import yaml

from pipelines.tuning.tuned_config import Edit, edited, write_tuned
from pipelines.tuning.tuning_document import Changed
from tests.unit.pipelines.comparing.documents import write_documents
from tfrs_twotower.config import load_run_config, spec_path
from tfrs_twotower.errors import ConfigError

TEXT = """\
# A shop.
name: shop  # its bundle
spec: shop.yaml
model:
  embedding_dim: 64
  # Recent purchases.
  history_half_life: 8  # chosen by hand

training:
  optimizer: {kind: adamw, learning_rate: 0.003}
  early_stopping: {}
# The second stage.
pre_ranking:
  models:
    - &one
      kind: inttower
      head_dim: 16
    - {<<: *one, head_dim: 8}
  # after it
"""


def test_a_changed_value_stays_in_its_line_under_its_comment():
    found = edited(TEXT, [Edit("model.history_half_life", 16, "was 8: recent events; +3.0% (4)")])
    assert found == TEXT.replace(
        "  history_half_life: 8  #",
        "  # was 8: recent events; +3.0% (4)\n  history_half_life: 16  #",
    )


def test_new_keys_go_to_the_end_of_their_section():
    found = edited(
        TEXT,
        [
            Edit("model.history_content", "learned", "was none"),
            Edit("training.optimizer.weight_decay", 0.01, "decay"),
            Edit("training.early_stopping.patience", 5),
            Edit("training.softmax.temperature", 0.05, "sharp"),
            Edit("pre_ranking.num_candidates", 300),
            Edit("index.kind", "ivf", "new"),
        ],
    )
    assert "  history_half_life: 8  # chosen by hand\n  # was none\n  history_content:" in found
    assert (
        "  # decay\n  optimizer: {kind: adamw, learning_rate: 0.003, weight_decay: 0.01}" in found
    )
    assert (
        "  early_stopping: {patience: 5}\n  # sharp\n  softmax: {temperature: 0.05}\n# The" in found
    )
    assert "    - {<<: *one, head_dim: 8}\n  num_candidates: 300\n" in found
    assert found.endswith("  # after it\n# new\nindex: {kind: ivf}\n")


def test_a_whole_block_is_replaced():
    found = edited(TEXT, [Edit("pre_ranking.models", [], "no members")])
    assert found.endswith("pre_ranking:\n  # no members\n  models: []\n  # after it\n")
    whole = edited("a: 1\npre_ranking: null\n", [
        Edit("pre_ranking", {"ease": {}}, "a second stage"), Edit("pre_ranking.ease.l2", 5),
    ])  # fmt: skip
    assert whole == "a: 1\n# a second stage\npre_ranking: {ease: {l2: 5}}\n"


def test_what_is_as_it_should_be_is_not_touched():
    assert edited(TEXT, [Edit("name", "shop"), Edit("model.embedding_dim", 64)]) == TEXT
    assert edited(TEXT, []) == TEXT
    assert edited("a: 1", [Edit("b", 2)]) == "a: 1\nb: 2\n"


def test_a_replaced_anchor_renders_the_document_anew():
    """Its alias would be left without a meaning; the comments of the edits are kept on top."""
    text = "model: &m {kind: plain}\nother: {<<: *m}\n"
    found = edited(text, [Edit("model", {"kind": "dat"}, "why")])
    assert yaml.safe_load(found) == {"model": {"kind": "dat"}, "other": {"kind": "plain"}}
    assert found.startswith("# model: why\n")


def test_random_edits_say_what_was_asked(random_edits):
    for edits, wanted in random_edits:
        assert yaml.safe_load(edited(TEXT, edits)) == wanted


@pytest.fixture
def random_edits():
    import numpy as np

    random = np.random.default_rng(0)
    keys = {
        "model.embedding_dim": [32, 128], "model.history_half_life": [None, 4],
        "model.kind": ["dat"], "training.optimizer.learning_rate": [0.01],
        "training.softmax.logq": ["none"], "training.epochs": [3], "seed": [1],
        "pre_ranking.ease": [{}, {"l2": 3.0}, None], "pre_ranking.models": [[]],
        "evaluate.ks": [[10, 20]],
    }  # fmt: skip
    cases = []
    for _ in range(40):
        wanted, edits = yaml.safe_load(TEXT), []
        for key in random.permutation(list(keys))[: random.integers(1, 8)]:
            value = keys[key][random.integers(len(keys[key]))]
            edits.append(Edit(str(key), value, "why " * int(random.integers(60))))
            *parents, last = str(key).split(".")
            section = wanted
            for name in parents:
                section = section.setdefault(name, {})
            section[last] = value
        cases.append((edits, wanted))
    return cases


CHANGE = Changed(
    key="model.embedding_dim", old=16, new=32, reason="wider vectors", figure="best with it +3.0%"
)


def test_the_written_file_loads_where_it_lies(tmp_path):
    configs, out = tmp_path / "mine" / "configs", tmp_path / "elsewhere"
    configs.mkdir(parents=True)
    out.mkdir()
    documents = write_documents(configs)
    path = out / "one_tuned.yaml"
    write_tuned(
        path, documents / "one.yaml", ["training.epochs=2", "data_root=data"], [CHANGE],
        ["First paragraph.", "Second " + "long " * 40],
    )  # fmt: skip
    config, before = load_run_config(path), load_run_config(documents / "one.yaml")
    assert spec_path(config, path) == spec_path(before, documents / "one.yaml")
    assert config.data_root == "../mine/configs/data"
    assert (config.name, config.model.embedding_dim, config.training.epochs) == ("one", 32, 2)
    assert config.index == before.index
    text = path.read_text()
    assert text.startswith("# First paragraph.\n# Second long")
    assert max(len(line) for line in text.splitlines()) <= 100
    above = text.splitlines()[text.splitlines().index("  embedding_dim: 32") - 1]
    assert above == "  # was 16: wider vectors; best with it +3.0%"


def test_a_file_without_a_name_keeps_that_of_its_bundle(tmp_path):
    documents = write_documents(tmp_path)
    original = tmp_path / "shop.yaml"
    original.write_text("spec: tiny.yaml\n", encoding="utf-8")
    write_tuned(documents / "shop_tuned.yaml", original, [], [], ["Nothing is changed: so."])
    assert load_run_config(documents / "shop_tuned.yaml").name == "shop"


def test_nothing_is_written_that_is_no_run_config(tmp_path):
    documents = write_documents(tmp_path)
    wrong = CHANGE.model_copy(update={"new": -1})
    with pytest.raises(ConfigError, match="embedding_dim"):
        write_tuned(tmp_path / "x.yaml", documents / "one.yaml", [], [wrong], [])
    assert not [path for path in tmp_path.iterdir() if "x" in path.stem]
