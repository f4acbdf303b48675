"""MedQuAD's repository of XML, as its publisher ships it, becomes the tables of the spec."""

import json
import zipfile
from xml.sax.saxutils import escape

import pytest

from pipelines.datasets import medquad
from pipelines.datasets.fetch import prepare
from pipelines.datasets.medquad import SPLITS, cut, key_of
from pipelines.datasets.published_tables import PublishedTables, checksum_of
from tests.fixtures.recorder import Recorder
from tfrs_twotower.errors import DataError

LONG = "This answer has just enough words to be kept."


def page(focus, pairs, *, source="CancerGov", group="Disorders", nested=True):
    """A page as the repository has it; CDC's lack the element around the annotations."""
    annotations = f"<UMLS><SemanticGroup>{group}</SemanticGroup></UMLS>"
    if nested:
        annotations = f"<FocusAnnotations>\n{annotations}\n</FocusAnnotations>"
    answered = "".join(
        f'<QAPair pid="{number}">\n<Question qid="1-{number}" qtype="information">'
        f"{escape(question)}</Question>\n<Answer>{escape(answer)}</Answer>\n</QAPair>"
        for number, (question, answer) in enumerate(pairs, 1)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Document id="1" source="{source}" url="http://x">'
        f"\n<Focus>{focus}</Focus>\n{annotations}\n<QAPairs>{answered}</QAPairs>\n</Document>\n"
    )


@pytest.fixture
def repository(tmp_path):
    directory = tmp_path / "MedQuAD-master"
    pages = {
        "1_CancerGov_QA/0000001_1.xml": page(
            "Gout",
            [
                ("What is (are) Gout ?", "Gout is\n   a kind of arthritis & it hurts, at night."),
                ("What causes Gout ?", f"{LONG} Shared by two diseases."),
                ("How to treat Gout ?", "Too few words."),
                ("Who has Gout ?", ""),
            ],
        ),
        # A directory that is read after the second, although it sorts before it.
        "10_MPlus_ADAM_QA/0000001.xml": page("Gout", [("What is (are) Gout ?", "")]),
        "2_GARD_QA/0000001.xml": page(
            "Ague",
            [
                ("What is (are) Ague ?", f"{LONG} It is about ague."),
                ("What is (are) Ague ?", f"{LONG} It is about ague."),
                ("Is there another name for Ague ?", f"{LONG} It is about ague."),
                ("What causes Ague ?", f"{LONG} Shared by two diseases."),
                ("What is (are) Gout ?", f"{LONG} Ague is not gout."),
            ],
            source="GARD",
        ),
        "9_CDC_QA/0000001.xml": page(
            "", [("How do worms spread ?", f"{LONG} Through the soil.")],
            source="CDC", group="", nested=False,
        ),
    }  # fmt: skip
    for name, text in pages.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (directory / "readme.txt").write_text("MedQuAD")
    return directory


def converted(source, tmp_path):
    recorder = Recorder()
    directory = prepare("medquad", tmp_path / "data", source, recorder)

    def lines(name):
        return (directory / name).read_text(encoding="utf-8").splitlines()

    corpus = [json.loads(line) for line in lines("corpus.jsonl")]
    queries = [json.loads(line) for line in lines("queries.jsonl")]
    return corpus, queries, [line.split("\t") for line in lines("qrels.tsv")], recorder


@pytest.fixture(params=["directory", "parent", "archive"])
def source(request, repository, tmp_path):
    if request.param == "archive":
        archive = tmp_path / "MedQuAD-master.zip"
        with zipfile.ZipFile(archive, "w") as opened:
            for path in sorted(repository.rglob("*.*")):
                opened.write(path, path.relative_to(repository.parent))
            opened.writestr("__MACOSX/MedQuAD-master/1_CancerGov_QA/._0000001_1.xml", b"\0\5\26\7")
        return archive
    return repository if request.param == "directory" else repository.parent


def test_every_form_of_the_repository_gives_the_tables(source, tmp_path):
    corpus, queries, judged, recorder = converted(source, tmp_path)
    disorders = {"source": "GARD", "semantic_group": "Disorders"}
    assert corpus == [
        {"_id": "d00000", "text": "Gout is a kind of arthritis & it hurts, at night.",
         "source": "CancerGov", "semantic_group": "Disorders"},
        {"_id": "d00001", "text": f"{LONG} It is about ague.", **disorders},
        {"_id": "d00002", "text": f"{LONG} Ague is not gout.", **disorders},
        {"_id": "d00003", "text": f"{LONG} Through the soil.", "source": "CDC",
         "semantic_group": ""},
    ]  # fmt: skip
    assert [(query["_id"], query["text"]) for query in queries] == [
        ("q00000", "What is (are) Gout ?"),
        ("q00001", "What is (are) Ague ?"),
        ("q00002", "Is there another name for Ague ?"),
        ("q00003", "How do worms spread ?"),
    ]
    assert judged == [
        ["query-id", "corpus-id", "score"],
        ["q00000", "d00000", "1"],
        ["q00001", "d00001", "1"],
        ["q00002", "d00001", "1"],
        ["q00000", "d00002", "1"],
        ["q00003", "d00003", "1"],
    ]
    said = "4 questions, 4 passages: not the tables that the results were measured on"
    assert any(message.startswith(said) for message in recorder.messages)
    record = json.loads((tmp_path / "data" / "medquad" / "SOURCE.json").read_text())
    assert list(record["sha256"]) == ["4 XML files"]


def test_a_question_has_its_own_split_or_that_of_its_disease(repository, tmp_path, monkeypatch):
    path = tmp_path / "splits.json"
    keys = {"dev": key_of("How do worms spread ?"), "test": key_of("What is (are) Ague ?")}
    path.write_text(json.dumps(keys))
    monkeypatch.setattr(medquad, "SPLITS", path)
    _, queries, _, _ = converted(repository, tmp_path)
    assert {query["text"]: query["split"] for query in queries} == {
        "What is (are) Gout ?": "test",  # the page of Ague asks it too
        "What is (are) Ague ?": "test",
        "Is there another name for Ague ?": "test",
        "How do worms spread ?": "dev",
    }


def test_the_splits_have_the_sizes_of_the_protocol():
    keys = json.loads(SPLITS.read_text(encoding="utf-8"))
    sets = {name: {all_[i : i + 8] for i in range(0, len(all_), 8)} for name, all_ in keys.items()}
    assert {name: len(some) for name, some in sets.items()} == {"dev": 1365, "test": 1344}
    assert not sets["dev"] & sets["test"]


def test_the_measured_tables_are_recognised(repository, tmp_path, monkeypatch):
    corpus, queries, judged, _ = converted(repository, tmp_path)
    passages = {one["_id"]: one["text"] for one in corpus}
    asked = {one["_id"]: one for one in queries}
    lines = [f"{asked[q]['split']}\t{asked[q]['text']}\t{passages[d]}" for q, d, _ in judged[1:]]
    monkeypatch.setattr(medquad, "MEASURED", PublishedTables({"no": ""}, checksum_of(lines[::-1])))
    *_, recorder = converted(repository, tmp_path)
    assert (
        "4 questions, 4 passages: the tables that the results were measured on" in recorder.messages
    )


def numbered(count, *ends):
    """Words w1 to wN, in which some end a sentence."""
    return " ".join(f"w{n}{'.' if n in ends else ''}" for n in range(1, count + 1))


@pytest.mark.parametrize(
    ("answer", "length"),
    [
        (numbered(160), 160),
        (numbered(161, 150, 161), 150),
        (numbered(300, 90, 159, 170), 159),
        (numbered(300, 81), 81),
        (numbered(300, 80), 160),  # the end of a sentence in the first half loses too much
        (numbered(300), 160),
        (f'{numbered(99)} "it hurts." {numbered(200)}', 101),
    ],
)
def test_a_long_answer_ends_with_a_sentence(answer, length):
    assert cut(answer) == " ".join(answer.split()[:length])


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE Document [<!ENTITY e0 "lol">'
    + "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    + "]><Document><Focus>&e11;</Focus></Document>"
)
FILE = '<!DOCTYPE Document [<!ENTITY x SYSTEM "file:///etc/hostname">]><Document>&x;</Document>'


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "declares a document type or entities"),
        (FILE, "declares a document type or entities"),
        ("<Document><Focus>", "is not XML"),
        ("", "is not XML"),
        ('<?xml version="1.0" encoding="no-such"?><Document/>', "is not XML"),
        ("<html/>", "begins with <html>, expected <Document>"),
    ],
)
def test_a_hostile_or_broken_page_is_named(text, said, repository, tmp_path):
    (repository / "2_GARD_QA" / "0000002.xml").write_text(text)
    with pytest.raises(DataError, match=rf"0000002\.xml: {said}"):
        prepare("medquad", tmp_path / "data", repository, Recorder())
    assert not (tmp_path / "data" / "medquad").exists()


def test_a_directory_without_pages_is_refused(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "readme.txt").write_text("x")
    with pytest.raises(DataError, match=r"found readme\.txt, expected directories of XML.*github"):
        prepare("medquad", tmp_path / "data", source, Recorder())


def test_pages_without_answers_are_refused(repository, tmp_path):
    with pytest.raises(DataError, match="its 1 XML files hold no answer of 8 words"):
        prepare("medquad", tmp_path / "data", repository / "10_MPlus_ADAM_QA", Recorder())
