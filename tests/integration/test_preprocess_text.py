"""WordPiece vocabularies: learned from the training window's records, or given."""

import copy
from collections import Counter

import pytest
from tensorflow_text import BertTokenizer

from tests.integration.preprocess_world import (
    SPEC,
    interactions,
    random_events,
    run,
    vocabulary,
    write_tables,
)
from tfrs_twotower.errors import FeatureSpecError
from tfrs_twotower.features.wordpiece_list import learn_wordpieces

pytestmark = pytest.mark.integration
WORDS = ["crème", "BRÛLÉE", "tea-pot", "x2", "茶壺"]


def spec_with(**text):
    spec = copy.deepcopy(SPEC)
    spec["candidate"]["features"].append(
        {"name": "title", "column": "name", "kind": "text", "vocabulary_size": 64, **text}
    )
    return spec


def tables(tmp_path):
    lines = [f"c{n},{WORDS[n % 5]} {WORDS[n % 3]} no {n},,1," for n in range(20)]
    write_tables(tmp_path, random_events(3), candidates=["candidate,name,tags,price,made", *lines])
    return {line.split(",")[0]: line.split(",")[1] for line in lines}


@pytest.mark.parametrize("lower_case", [True, False])
def test_words_are_those_of_the_tokeniser_each_record_once(tmp_path, lower_case):
    names = tables(tmp_path)
    run(tmp_path, spec=spec_with(lower_case=lower_case))
    artifact = tmp_path / "work" / "preprocessed"
    trained = {row["candidate_id"] for row in interactions(artifact) if row["split"] == "train"}
    # With a vocabulary of one unknown token the tokeniser's offsets are those of its words.
    table = tmp_path / "unknown.txt"
    table.write_text("[PAD]\n[UNK]\n", encoding="utf-8")
    tokenizer = BertTokenizer(str(table), lower_case=lower_case)
    words = Counter()
    for candidate_id in trained:
        basic = tokenizer._basic_tokenizer.tokenize([names[candidate_id]])
        words.update(word.decode() for word in basic.flat_values.numpy())
    assert vocabulary(artifact, "title") == learn_wordpieces(list(words.items()), 64)


def test_a_given_list_is_copied(tmp_path):
    tables(tmp_path)
    (tmp_path / "pieces.txt").write_text("[PAD]\n[UNK]\ntea\n##pot\n", encoding="utf-8")
    run(tmp_path, spec=spec_with(vocabulary_file="pieces.txt"))
    artifact = tmp_path / "work" / "preprocessed"
    assert vocabulary(artifact, "title") == ["[PAD]", "[UNK]", "tea", "##pot"]


def test_a_given_list_that_is_none(tmp_path):
    tables(tmp_path)
    (tmp_path / "pieces.txt").write_text("tea\n", encoding="utf-8")
    with pytest.raises(FeatureSpecError, match=r"pieces.txt: begins with \['tea'\]"):
        run(tmp_path, spec=spec_with(vocabulary_file="pieces.txt"))
