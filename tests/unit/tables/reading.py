"""Reading bytes as a table, the way the stages do."""

import io
from contextlib import contextmanager

from tfrs_twotower.tables.delimited import FileNotes, read_delimited
from tfrs_twotower.tables.encodings import read_head, refuse_guess
from tfrs_twotower.tables.files import decompressed
from tfrs_twotower.tables.json_records import is_array, json_encoding, read_json_records
from tfrs_twotower.tables.sniffing import find_form
from tfrs_twotower.tables.text_forms import Declared


def opener(content):
    @contextmanager
    def open_content():
        with decompressed(io.BytesIO(content)) as stream:
            yield stream

    return open_content


def read_text(content, default=",", **declared):
    """The form, the records and the sentences of a delimited file."""
    content = content.encode() if isinstance(content, str) else content
    with opener(content)() as stream:
        head = read_head(stream)
    form = find_form(head, default, Declared(**declared))
    refuse_guess(form.encoding)
    notes = FileNotes()
    records = list(read_delimited("t.csv", opener(content), form, form.columns, notes))
    return form, records, notes.said()


def rows_of(content, default=",", **declared):
    """Header and rows of a file without bad records."""
    form, records, _ = read_text(content, default, **declared)
    assert [reason for _, _, reason in records if reason] == []
    return [list(form.columns)] + [list(values) for _, values, _ in records]


def read_json(content, columns, ids=()):
    """The records and the sentences of a JSON file."""
    content = content.encode() if isinstance(content, str) else content
    with opener(content)() as stream:
        head = read_head(stream)
    encoding, notes = json_encoding(head), FileNotes()
    records = read_json_records(
        "t.json", opener(content), encoding, columns, notes, array=is_array(head, encoding), ids=ids
    )
    return list(records), notes.said()
