"""The forms of cells, counted by hand."""

from pipelines.transforms import watched_cells
from pipelines.transforms.watched_cells import CellWatch, Watched
from tests.unit.specs.documents import spec_data
from tfrs_twotower.specs import FeatureSpec

COLUMNS = ("id", "genres", "price", "note")
WATCHED = [
    Watched("id", "id"),
    Watched("genres", "list", separator="|"),
    Watched("price", "number"),
    Watched("note", "other"),
]


def seen(*records):
    watch = CellWatch(WATCHED, COLUMNS)
    for position, cells in enumerate(records, start=1):
        watch.look(position, cells)
    return {key: (count, [one[2] for one in first]) for key, (count, first) in watch.seen()}


def test_each_form_is_counted_with_its_first_cell():
    assert seen(
        ("1", "a|b", "1.5", "['x']"),
        (" 2", "a;b", "1,5", "nan"),
        ("nan", "['a', 'b']", "1,234.5", None),
        (4, ["a"], 1.5, None),
        ("5", "", "nan", None),
        ("6", "{5C1F}", float("nan"), None),
    ) == {
        ("id", "present"): (6, []),
        ("id", "word:nan"): (1, ["nan"]),
        ("genres", "present"): (5, []),
        ("genres", "separator"): (1, ["a|b"]),
        ("genres", "separator:|"): (1, ["a|b"]),
        ("genres", "separator:;"): (1, ["a;b"]),
        ("genres", "list:python"): (1, ["['a', 'b']"]),
        ("genres", "is list"): (1, ["['a', 'b']"]),
        ("genres", "list:postgres"): (1, ["{5C1F}"]),
        ("price", "present"): (5, []),
        ("price", "number:comma"): (1, ["1,5"]),
        ("price", "number:point"): (1, ["1,234.5"]),
        ("price", "word:nan"): (1, ["nan"]),
        ("note", "present"): (2, []),
    }


def test_cells_that_a_format_reads_are_not_questioned():
    watch = CellWatch([Watched("genres", "list", plain=False)], ("genres",))
    watch.look(1, ("['a', 'b']",))
    assert dict(watch.seen()) == {("genres", "present"): (1, [])}


def test_the_columns_that_a_spec_reads_are_watched_once():
    spec = FeatureSpec.model_validate(
        spec_data(
            candidate={
                "features": [
                    {"name": "item", "kind": "id"},
                    {"name": "title", "kind": "text", "column": "name"},
                    {"name": "kind", "kind": "categorical", "column": "name"},
                    {"name": "cost", "kind": "numeric", "format": "comma"},
                ]
            }
        )
    )
    table = spec.candidates.model_copy(update={"title": "name"})
    watched = watched_cells.watched_entities(table, [*spec.candidate.features, None])
    assert [(one.column, one.role, one.plain) for one in watched] == [
        (table.id, "id", True),
        ("name", "category", True),
        ("cost", "number", False),
    ]
    events = spec.interactions.model_copy(update={"label": "stars", "session": "visit"})
    roles = [(one.column, one.role) for one in watched_cells.watched_interactions(events)]
    assert roles[2:] == [("stars", "number"), ("visit", "category")]
