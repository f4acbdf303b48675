import pytest

from pipelines.datasets import movielens_1m, movielens_100k
from pipelines.datasets.movielens_100k import split_title
from tests.fixtures.recorder import Recorder
from tfrs_twotower.errors import DataError


def _flags(*on):
    return "|".join("1" if i in on else "0" for i in range(19))


@pytest.fixture
def official(tmp_path):
    source = tmp_path / "ml-100k"
    source.mkdir()
    (source / "u.data").write_text("196\t242\t3\t881250949\n22\t377\t1\t878887116\n")
    items = [
        f"1|Toy Story (1995)|01-Jan-1995||http://x|{_flags(3, 4, 5)}",
        f"267|unknown||||{_flags(0)}",
        f"543|Misérables, Les (1995)|01-Jan-1995|||{_flags(8)}",
        f"1412|Land Before Time III (1995) (V)|01-Jan-1995|||{_flags(3)}",
    ]
    (source / "u.item").write_text("\n".join(items) + "\n", encoding="latin-1")
    (source / "u.user").write_text("1|24|M|technician|85711\n2|53|F|other|T8H1N\n")
    return source


@pytest.fixture
def recbole(tmp_path):
    source = tmp_path / "recbole"
    source.mkdir()
    (source / "ml-100k.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "196\t242\t3\t881250949\n22\t377\t1\t878887116\n"
    )
    (source / "ml-100k.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tToy Story\t1995\tAnimation Children's Comedy\n"
        "267\tunkonwn\tunkonwn\tunknown\n"
        "543\tMisérables, Les\t1995\tDrama\n"
        "1412\tLand Before Time III (1995)\tV\tAnimation\n",
        encoding="utf-8",
    )
    (source / "ml-100k.user").write_text(
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        "1\t24\tM\ttechnician\t85711\n2\t53\tF\tother\tT8H1N\n"
    )
    return source


EXPECTED = {
    "interactions.tsv": (
        "user_id\titem_id\trating\ttimestamp\n196\t242\t3\t881250949\n22\t377\t1\t878887116\n"
    ),
    "items.tsv": (
        "item_id\ttitle\tyear\tgenres\n"
        "1\tToy Story\t1995\tAnimation|Children's|Comedy\n"
        "267\tunknown\t\tunknown\n"
        "543\tMisérables, Les\t1995\tDrama\n"
        "1412\tLand Before Time III\t1995\tAnimation\n"
    ),
    "users.tsv": (
        "user_id\tage\tgender\toccupation\tregion\n1\t24\tM\ttechnician\t8\n2\t53\tF\tother\tT\n"
    ),
}


@pytest.mark.parametrize("layout", ["official", "recbole"])
def test_both_layouts_give_the_same_tables(layout, request, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    sums = movielens_100k.convert(request.getfixturevalue(layout), out, tmp_path, Recorder())
    assert {p.name: p.read_text(encoding="utf-8") for p in out.iterdir()} == EXPECTED
    assert len(sums) == 3
    assert all(len(digest) == 64 for digest in sums.values())


def test_the_parent_of_an_unpacked_archive_will_do(official, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    movielens_100k.convert(official.parent, out, tmp_path, Recorder())
    assert (out / "users.tsv").is_file()


def test_missing_file_is_named(official, tmp_path):
    (official / "u.user").unlink()
    with pytest.raises(DataError, match=r"missing u\.user \(found u\.data, u\.item\).*GroupLens"):
        movielens_100k.convert(official, tmp_path, tmp_path, Recorder())


def test_broken_line_is_named(official, tmp_path):
    with (official / "u.data").open("a") as stream:
        stream.write("1\t2\t3\n")
    with pytest.raises(DataError, match=r"u\.data:3: found 3 fields, expected 4"):
        movielens_100k.convert(official, tmp_path, tmp_path, Recorder())


@pytest.mark.parametrize(
    ("text", "title", "year"),
    [
        ("Heat (1995)", "Heat", "1995"),
        ("Seven (Se7en) (1995)", "Seven (Se7en)", "1995"),
        ("Slumber Party (1990) (V)", "Slumber Party", "1990"),
        ("unknown", "unknown", ""),
    ],
)
def test_title_and_year(text, title, year):
    assert split_title(text) == (title, year)


@pytest.fixture
def million(tmp_path):
    source = tmp_path / "ml-1m"
    source.mkdir()
    (source / "ratings.dat").write_text("1::1193::5::978300760\n")
    (source / "movies.dat").write_text(
        "1::Toy Story (1995)::Animation|Children's|Comedy\n73::Misérables, Les (1995)::Drama\n",
        encoding="latin-1",
    )
    (source / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    return source


def test_movielens_1m(million, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    movielens_1m.convert(million, out, tmp_path, Recorder())
    assert (out / "interactions.tsv").read_text().splitlines()[1] == "1\t1193\t5\t978300760"
    assert (out / "items.tsv").read_text(encoding="utf-8").splitlines()[1:] == [
        "1\tToy Story\t1995\tAnimation|Children's|Comedy",
        "73\tMisérables, Les\t1995\tDrama",
    ]
    assert (out / "users.tsv").read_text().splitlines()[1:] == [
        "1\t1\tF\tK-12 student\t4",
        "2\t56\tM\tself-employed\t7",
    ]


def test_movielens_1m_refuses_an_unknown_occupation(million, tmp_path):
    (million / "users.dat").write_text("1::F::1::21::48067\n")
    with pytest.raises(DataError, match="user 1: found occupation '21', allowed: 0 to 20"):
        movielens_1m.convert(million, tmp_path, tmp_path, Recorder())
