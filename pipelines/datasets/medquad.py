"""MedQuAD: 13,635 medical questions and the 15,001 passages that answer them.

Licence: CC BY 4.0. Asma Ben Abacha and Dina Demner-Fushman, A Question-Entailment Approach to
Question Answering, BMC Bioinformatics 2019. The publisher's repository holds an XML file for each
page of an institute: a disease (`Focus`) and pairs of a question and an answer. Changes: pairs
without an answer, duplicates, answers of fewer than eight words and answers that several diseases
share are removed; answers are cut to 160 words at the end of a sentence.

Protocol of `feature_specs/medquad.yaml`: fixed splits (10,926 train, 1,365 dev, 1,344 test), which
share no disease; all passages are ranked, including those that training never saw. Questions are
templates (a disease and a question type), so the other passages of the same disease are the hard
negatives. `medquad_splits.json` names the questions of dev and test by the first 32 bits of their
SHA-256; another question follows the questions of its disease, and is train where they say nothing.

Tables: `corpus.jsonl` (_id, text, source, semantic_group), `queries.jsonl` (_id, text, split),
`qrels.tsv` (query-id, corpus-id, score).
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from pipelines.datasets import sources
from pipelines.datasets.published_tables import PublishedTables, checksum_of
from pipelines.progress import Reporter
from tfrs_twotower.environment import require_extra
from tfrs_twotower.errors import DataError

ABOUT = sources.About(
    name="medquad",
    licence="CC BY 4.0",
    attribution=(
        "Asma Ben Abacha and Dina Demner-Fushman. 2019. A Question-Entailment Approach to "
        "Question Answering. BMC Bioinformatics 20, 511"
    ),
    layout="directories of XML files as 1_CancerGov_QA (or corpus.jsonl, queries.jsonl, qrels.tsv)",
    home="https://github.com/abachaa/MedQuAD",
)
MEASURED = PublishedTables(
    {
        "corpus.jsonl": "68300067ce128c9ee29cd80f243b8d769c6fc83ee9d8ec78d488fbb275dd9fd9",
        "queries.jsonl": "759ca4f1c315c6c3941823b6d76ad4ead727b18ae3f80034261c75952e63c86f",
        "qrels.tsv": "47f402f48ef5628aaaa6e91bc2da6bb5a11540eff4badfdc52cd98f2eb686844",
    },
    content="734f2309f6e8304bd4cb04ba390efd8218dd301d9f1f1b8b15871fd0a488cdb0",
)
SPLITS = Path(__file__).with_name("medquad_splits.json")
LARGEST_PASSAGE, SMALLEST_PASSAGE = 160, 8
_SENTENCE_END = re.compile(r"[.?!][\"')\]]*$")
_DIGITS = 8


@dataclass
class Passage:
    """An answer, cut, and the questions that it answers."""

    text: str
    source: str
    semantic_group: str
    questions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pair:
    """A question and its whole answer."""

    question: str
    answer: str
    disease: str
    source: str
    semantic_group: str


def convert(source: Path | None, out: Path, cache: Path, reporter: Reporter) -> dict[str, str]:
    """Writes the three tables into `out`.

    Returns:
        SHA-256 of each source file; of the XML files one of their names and sums.

    Raises:
        DataError: the source is missing, damaged or not in a known layout.
    """
    source = sources.require_source(source, ABOUT)
    if MEASURED.lie_in(source):
        return MEASURED.copy(source, ABOUT, out)
    files = _xml_files(source)
    pairs = list(_pairs(files, source, reporter))
    passages = _passages(pairs)
    if not passages:
        raise DataError(
            f"--source {source}: its {len(files):,} XML files hold no answer of {SMALLEST_PASSAGE} "
            f"words. It must hold {ABOUT.layout}; get it from {ABOUT.home}."
        )
    _write_tables(passages, _splits(pairs), out, reporter)
    sums = sources.checksums({path.relative_to(source).as_posix(): path for path in files})
    return {f"{len(files)} XML files": checksum_of(" ".join(one) for one in sums.items())}


def _xml_files(source: Path) -> list[Path]:
    """The files of the repository, in the order of the numbers of their directories."""

    def place(path: Path) -> tuple[int, str]:
        number = re.match(r"\d+", path.parent.name)
        return int(number[0]) if number else 0, path.as_posix()

    # Archives made on a Mac hold a second file for each, of which nothing is data.
    files = [path for path in source.rglob("*.xml") if not path.name.startswith("._")]
    files.sort(key=place)
    if not files:
        found = ", ".join(sorted(path.name for path in source.iterdir())[:8]) or "nothing"
        raise DataError(
            f"--source {source}: found {found}, expected {ABOUT.layout}. Get it from {ABOUT.home}."
        )
    return files


def _pairs(files: list[Path], source: Path, reporter: Reporter) -> Iterator[Pair]:
    """The questions that have an answer, in the order of the files."""
    for count, path in enumerate(files, 1):
        page = _parse(path)
        disease = _words(page.findtext("Focus"))
        about = {
            "disease": disease.lower() or path.relative_to(source).as_posix(),
            "source": page.get("source", ""),
            "semantic_group": _words(next((e.text for e in page.iter("SemanticGroup")), "")),
        }
        for pair in page.iter("QAPair"):
            question, answer = _words(pair.findtext("Question")), _words(pair.findtext("Answer"))
            if question and len(answer.split()) >= SMALLEST_PASSAGE:
                yield Pair(question, answer, **about)
        if count % 1000 == 0 or count == len(files):
            reporter.progress("pages", count, len(files))


def _parse(path: Path) -> Element:
    """The root of a page. Entities are refused: those of a hostile file grow without end."""
    require_extra("pipelines", "defusedxml", needed_by="reading MedQuAD's XML")
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import parse

    try:
        root = parse(path, forbid_dtd=True).getroot()
    except DefusedXmlException as cause:
        raise DataError(
            f"{path}: declares a document type or entities, as no file of MedQuAD does. Get the "
            f"original from {ABOUT.home}."
        ) from cause
    except (ParseError, LookupError, ValueError) as cause:
        raise DataError(f"{path}: is not XML: {cause}. Get it again from {ABOUT.home}.") from cause
    if root is None or root.tag != "Document":
        found = "nothing" if root is None else f"<{root.tag}>"
        raise DataError(
            f"{path}: begins with {found}, expected <Document>. Name the directory of MedQuAD "
            "alone."
        )
    return root


def _words(text: str | None) -> str:
    return " ".join((text or "").split())


def _passages(pairs: list[Pair]) -> list[Passage]:
    """One passage for each answer that belongs to one disease, in the order of the pairs."""
    diseases: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        diseases[pair.answer].add(pair.disease)
    passages: dict[str, Passage] = {}
    for pair in pairs:
        if len(diseases[pair.answer]) > 1:
            continue
        passage = passages.setdefault(
            pair.answer, Passage(cut(pair.answer), pair.source, pair.semantic_group)
        )
        if pair.question not in passage.questions:
            passage.questions.append(pair.question)
    return list(passages.values())


def cut(answer: str) -> str:
    """The first 160 words, up to the last end of a sentence in their second half."""
    words = answer.split()
    if len(words) <= LARGEST_PASSAGE:
        return answer
    for length in range(LARGEST_PASSAGE, LARGEST_PASSAGE // 2, -1):
        if _SENTENCE_END.search(words[length - 1]):
            return " ".join(words[:length])
    return " ".join(words[:LARGEST_PASSAGE])


def key_of(question: str) -> str:
    """The first 32 bits of a question's SHA-256, as in `medquad_splits.json`."""
    return hashlib.sha256(question.encode()).hexdigest()[:_DIGITS]


def _splits(pairs: list[Pair]) -> dict[str, str]:
    """The split of each question: its own, else that of its disease, else train."""
    listed = {
        keys[place : place + _DIGITS]: split
        for split, keys in json.loads(SPLITS.read_text(encoding="utf-8")).items()
        for place in range(0, len(keys), _DIGITS)
    }
    own = {pair.question: listed.get(key_of(pair.question), "") for pair in pairs}
    of_disease: dict[str, str] = {}
    for pair in pairs:
        of_disease[pair.disease] = max(of_disease.get(pair.disease, ""), own[pair.question])
    splits = dict(own)
    for pair in pairs:
        if not own[pair.question]:
            splits[pair.question] = max(splits[pair.question], of_disease[pair.disease])
    return {question: split or "train" for question, split in splits.items()}


def _write_tables(
    passages: list[Passage], splits: Mapping[str, str], out: Path, reporter: Reporter
) -> None:
    asked = [question for passage in passages for question in passage.questions]
    query_ids = {text: f"q{number:05d}" for number, text in enumerate(dict.fromkeys(asked))}
    judged = [
        (query_ids[question], f"d{number:05d}", 1)
        for number, passage in enumerate(passages)
        for question in passage.questions
    ]
    corpus = (
        {
            "_id": f"d{number:05d}",
            "text": passage.text,
            "source": passage.source,
            "semantic_group": passage.semantic_group,
        }
        for number, passage in enumerate(passages)
    )
    queries = (
        {"_id": query_id, "text": text, "split": splits[text]}
        for text, query_id in query_ids.items()
    )
    sources.write_jsonl(out / "corpus.jsonl", corpus)
    sources.write_jsonl(out / "queries.jsonl", queries)
    sources.write_tsv(out / "qrels.tsv", ("query-id", "corpus-id", "score"), judged)
    MEASURED.say_whether_equal(
        (f"{splits[q]}\t{q}\t{passage.text}" for passage in passages for q in passage.questions),
        f"{len(query_ids):,} questions, {len(passages):,} passages",
        reporter,
    )
