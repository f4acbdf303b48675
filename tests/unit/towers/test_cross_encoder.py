import json
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.planted_texts import PIECES, WORDS, with_or_without
from tests.fixtures.tiny_checkpoint import POSITIONS, write_checkpoint
from tfrs_twotower.config import CrossEncoderConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.errors import ConfigError, CorruptArtifact, MissingArtifact
from tfrs_twotower.layers.seeded import WeightMaker
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.towers import cross_encoder as module

CONFIG = CrossEncoderConfig(dim=8, num_heads=2, feed_forward_dim=8)
WORLD = with_or_without()
CLS, SEP = len(PIECES), len(PIECES) + 1


@pytest.fixture(scope="module")
def texts():
    return module.PairTexts(WORLD.spec, WORLD.assets, CONFIG)


def models_of(texts, number=2):
    candidates = texts.read("candidate", WORLD.candidates)
    return [
        module.build_cross_encoder(texts, CONFIG, WeightMaker(seed), candidates)
        for seed in range(number)
    ]


def spec_of(query, candidate):
    data = WORLD.spec.model_dump(mode="json")
    data["query"]["features"], data["candidate"]["features"] = query, candidate
    return FeatureSpec.model_validate(data)


def test_texts_become_pieces(texts):
    assert (texts.start, texts.end, texts.num_pieces) == (CLS, SEP, len(PIECES) + 2)
    raw = {"question": np.array([b"with amber", b"", b"with without a birch"], object)}
    assert texts.read("query", raw).tolist() == [[2, 6, 0], [0, 0, 0], [2, 3, 4]]
    from_tokens = texts.joined("query", {"question": WORLD.table.tokens["question"]})
    np.testing.assert_array_equal(from_tokens, WORLD.table.tokens["question"])


def test_texts_of_a_side_follow_each_other_up_to_the_limit():
    text = {"kind": "text", "vocabulary": "words", "max_tokens": 2}
    spec = spec_of([{"name": "x", **text}], [{"name": "y", **text}, {"name": "z", **text}])
    raw = {
        "y": np.array([b"amber", b"", b"amber birch"], object),
        "z": np.array([b"coral delta", b"ember", b"coral delta"], object),
    }
    read = module.PairTexts(spec, WORLD.assets, CONFIG).read("candidate", raw)
    assert read.tolist() == [[6, 8, 9, 0], [10, 0, 0, 0], [6, 7, 8, 9]]
    short = CONFIG.model_copy(update={"max_candidate_tokens": 3})
    read = module.PairTexts(spec, WORLD.assets, short).read("candidate", raw)
    assert read.tolist() == [[6, 8, 9], [10, 0, 0], [6, 7, 8]]


def test_a_word_has_one_number_in_all_vocabularies():
    spec = spec_of(
        [{"name": "x", "kind": "text", "max_tokens": 2}],
        [{"name": "y", "kind": "text", "max_tokens": 2}],
    )
    vocabularies = {
        "x": ["[PAD]", "[UNK]", "amber", "birch"],
        "y": ["[PAD]", "[UNK]", "coral", "birch"],
    }
    texts = module.PairTexts(spec, Assets(vocabularies, {}), CONFIG)
    birch = np.array([b"birch coral"], object)
    assert texts.read("query", {"x": birch}).tolist() == [[3, 1]]
    assert texts.read("candidate", {"y": birch}).tolist() == [[3, 4]]
    assert texts.num_pieces == 5 + 2


def test_rarity_is_the_inverse_document_frequency(texts):
    (model,) = models_of(texts, 1)
    rarity = model.named_variables()["encoder.rarity"].numpy()
    assert rarity.max() == 1.0
    common, rare = rarity[PIECES.index("house")], rarity[PIECES.index(WORDS[0])]
    # Of 6 candidates all have "house", and one has each word; log(1 + (N - n + .5) / (n + .5)).
    expected = np.log1p((6 - 6 + 0.5) / (6 + 0.5)) / np.log1p((6 - 1 + 0.5) / (1 + 0.5))
    assert common / rare == pytest.approx(expected, rel=1e-5)


def test_scores_of_lists_are_those_of_pairs(texts, monkeypatch):
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", 7)
    (model,) = models_of(texts, 1)
    queries = texts.joined("query", {"question": WORLD.table.tokens["question"]})
    candidates = texts.read("candidate", WORLD.candidates)
    rows = WORLD.lists.rows
    scores = module.PairScores(model).lists(queries, rows, candidates)
    for example, listed in enumerate(rows):
        for place, row in enumerate(listed):
            pair = queries[example : example + 1], candidates[row : row + 1]
            expected = model(*map(tf.constant, pair)).numpy()[0] if row >= 0 else 0.0
            assert scores[example, place] == pytest.approx(expected, abs=1e-5)


def test_models_come_back_as_they_were(texts, tmp_path):
    models = models_of(texts)
    module.save_cross_encoders(models, texts, CONFIG, None, tmp_path / "cross_encoder")
    read, loaded = module.load_cross_encoders(tmp_path / "cross_encoder", WORLD.spec)
    queries = read.joined("query", {"question": WORLD.table.tokens["question"]})
    candidates = read.read("candidate", WORLD.candidates)
    rows = WORLD.lists.rows
    scores = [module.PairScores(model).lists(queries, rows, candidates) for model in models]
    assert np.abs(scores[0] - scores[1]).max() > 1e-3
    for model, expected in zip(loaded, scores, strict=True):
        again = module.PairScores(model).lists(queries, rows, candidates)
        np.testing.assert_array_equal(again, expected)


def test_damaged_files_are_named(texts, tmp_path):
    with pytest.raises(MissingArtifact, match=r"settings.json: is missing; run `twotower mine`"):
        module.load_cross_encoders(tmp_path, WORLD.spec)
    module.save_cross_encoders(models_of(texts), texts, CONFIG, None, tmp_path)
    (tmp_path / "weights-0.npz").write_bytes(b"PK")
    with pytest.raises(CorruptArtifact, match=r"weights-0.npz: cannot be read"):
        module.load_cross_encoders(tmp_path, WORLD.spec)
    for path in tmp_path.glob("*.npz"):
        path.unlink()
    with pytest.raises(MissingArtifact, match="has no weights; run `twotower mine`"):
        module.load_cross_encoders(tmp_path, WORLD.spec)
    (tmp_path / "settings.json").write_text(json.dumps({"config": {"dim": 0}}))
    with pytest.raises(
        CorruptArtifact, match=r"(?s)settings.json: cannot be read: .*Run `twotower"
    ):
        module.load_cross_encoders(tmp_path, WORLD.spec)


class TestPretrained:
    text = {"kind": "text", "encoder": "pretrained", "checkpoint": "bert", "max_tokens": 6}
    spec = spec_of(
        [{"name": "x", "vocabulary": "pieces", **text}],
        [{"name": "y", "vocabulary": "others", **text}],
    )
    config = CrossEncoderConfig(encoder="pretrained", max_query_tokens=5, max_candidate_tokens=6)

    def test_marks_of_each_text_are_left_out(self, tmp_path):
        write_checkpoint(tmp_path / "bert")
        texts = module.PairTexts(self.spec, Assets({}, {}), self.config, tmp_path)
        assert (texts.start, texts.end) == (2, 3)
        raw = {"x": np.array([b"calm guitar", b"louder"], object)}
        assert texts.read("query", raw)[:, :3].tolist() == [[4, 7, 0], [5, 6, 0]]

    def test_it_comes_back_without_the_checkpoint(self, tmp_path):
        write_checkpoint(tmp_path / "bert")
        shape, tensors = module.pretrained_of(self.spec, self.config, tmp_path)
        texts = module.PairTexts(self.spec, Assets({}, {}), self.config, tmp_path)
        model = module.build_cross_encoder(texts, self.config, WeightMaker(1), None, shape)
        model.encoder.encoder.assign(tensors)
        saved = tmp_path / "saved"
        module.save_cross_encoders([model], texts, self.config, shape, saved)
        (tmp_path / "bert" / "model.safetensors").unlink()
        texts, (loaded,) = module.load_cross_encoders(saved, self.spec)
        pieces = tf.constant([[4, 7, 0]])
        assert loaded(pieces, pieces).numpy() == model(pieces, pieces).numpy()

    def test_pairs_longer_than_its_positions_are_refused(self, tmp_path):
        write_checkpoint(tmp_path / "bert")
        module.check_checkpoint(self.spec, self.config, tmp_path)
        longer = self.config.model_copy(update={"max_candidate_tokens": 10})
        message = (
            "cross_encoder: max_query_tokens 5 and max_candidate_tokens 10 make 18 places with "
            f"the 3 marks, and the encoder in {tmp_path}/bert has {POSITIONS}. Lower one"
        )
        for check in (module.check_checkpoint, module.pretrained_of):
            with pytest.raises(ConfigError, match=re.escape(message)):
                check(self.spec, longer, tmp_path)
