"""Files that list one value in each line: ids of candidates, WordPieces."""

from functools import partial
from pathlib import Path

from tfrs_twotower.errors import DataError
from tfrs_twotower.tables import files
from tfrs_twotower.tables.delimited import FileNotes, read_delimited
from tfrs_twotower.tables.encodings import read_head, refuse_guess
from tfrs_twotower.tables.sniffing import find_form
from tfrs_twotower.tables.text_forms import Declared


def read_ids(path: str) -> list[str]:
    """Reads ids, one a line, as the tables are read: sorted, each once, without blanks around them.

    Raises:
        DataError: the file is missing or no text, or a line is not one id.
    """
    open_file = partial(files.open_local, path)
    ids = set()
    try:
        with files.unreadable_as_such(path), files.malformed_in(path):
            with open_file() as stream:
                head = read_head(stream)
            form = find_form(head, "\t", Declared(columns=("id",)))
            refuse_guess(form.encoding, by_option=False)
            for line, values, reason in read_delimited(path, open_file, form, ("id",), FileNotes()):
                if values is None:
                    what = "several fields" if reason.startswith("has another") else reason
                    raise DataError(
                        f"{path}:{line}: {what}; expected a candidate id in each line. Correct it."
                    )
                ids.add(values[0].strip())
    except files.UnreadableFile as cause:
        raise DataError(f"{cause} Expected text with a candidate id in each line.") from cause
    return sorted(ids - {""})


def read_pieces(path: Path) -> list[str]:
    """The lines of a list of WordPieces, without a byte order mark and without line ends.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    with path.open(encoding="utf-8-sig") as text:  # other signs than line ends may be in a piece
        return text.read().removesuffix("\n").split("\n")
