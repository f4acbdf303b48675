"""What the cells of a column are, beyond their type: addresses, codes, names of people, links.

The form of the cells decides. Where a form fits several things (five digits may be a postal code or
a price in cents), the name must agree; a name alone decides nothing. Plain functions on text.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.init_spec import column_names as names
from pipelines.init_spec import personal_cells
from pipelines.init_spec.personal_cells import FEWEST, MANY, MOST, Records, share
from pipelines.transforms import cell_forms

_LINK = re.compile(
    r"(?:(?:https?|ftp|s3|gs):)?//\S+|www\.\S+"
    r"|[^\s<>]+\.(?:jpe?g|png|gif|webp|svg|avif|bmp|tiff?|pdf|mp4|html?|php)(?:\?\S*)?",
    re.IGNORECASE,
)
_HASH = re.compile(
    r"\{?[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\}?"
    r"|(?=.*[0-9])(?=.*[a-fA-F])[0-9a-fA-F]{16,128}"
)
_POSTAL = re.compile(
    r"(?:[A-Z]{1,2}-)?\d{4,6}(?:-\d{3,4})?|\d{3}|\d{2,3}[- ]\d{2,4}|\d{4} ?[A-Z]{2}"
    r"|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[A-Z]\d[A-Z] ?\d[A-Z]\d"
)
_BARE_POSTAL = re.compile(r"[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}|[A-Z]\d[A-Z] \d[A-Z]\d|\d{4} [A-Z]{2}")
_CODE = re.compile(r"#?[^\W_]+(?:[-_./#:+][^\W_]+)*")
_PRICE_AND_WORDS = re.compile(r"(?=.*\d)(?=.*(?:[$\u00a3\u20ac]|EUR|USD|CHF|GBP))\S+(?: \S+){0,4}")
_MEASURE = re.compile(r"[+-]?\d[\d.,]* ?(?:[a-zA-Z\u00b5\u00b0]{1,5}[\u00b2\u00b3]?|\")")


@dataclass(frozen=True)
class Meaning:
    """What the cells of a column are."""

    name: str
    """In the plural, as a comment says it: `e-mail addresses`."""
    personal: bool = False
    """Whether it identifies a person or tells where one lives."""
    is_code: bool = False
    """Whether it is written in digits, or letters and digits, and is not a quantity."""
    opaque: bool = False
    """Whether there is nothing to learn from it."""

    @property
    def why_left_out(self) -> str:
        """Why a column of these is not a feature."""
        if self.personal:
            return f"holds personal data: {self.name}"
        return f"holds {self.name}: there is nothing to learn from them"


EMAILS = Meaning("e-mail addresses", personal=True, opaque=True)
PHONES = Meaning("phone numbers", personal=True, is_code=True, opaque=True)
PEOPLE = Meaning("names of people", personal=True, opaque=True)
STREETS = Meaning("street addresses", personal=True, opaque=True)
IPS = Meaning("IP addresses", personal=True, opaque=True)
ACCOUNTS = Meaning("bank accounts, cards or passwords", personal=True, is_code=True, opaque=True)
BIRTH_DATES = Meaning("dates of birth", personal=True, opaque=True)
LINKS = Meaning("links or names of files", opaque=True)
BARCODES = Meaning("barcodes (EAN, GTIN, UPC or ISBN)", is_code=True, opaque=True)
HASHES = Meaning("random identifiers", is_code=True, opaque=True)
LOGINS = Meaning("user names", personal=True, opaque=True)
NOTES = Meaning("notes about people", personal=True, opaque=True)
MEASURES = Meaning("numbers with a unit or words, which are not read as numbers", opaque=True)
POSTAL_CODES = Meaning("postal codes", is_code=True)
CODES = Meaning("codes", is_code=True)


def meaning_of(name: str, texts: Sequence[str], *, of: Records = "things") -> Meaning | None:
    """What the cells of a column are; None if they are just numbers or text.

    Args:
        name: of the column.
        texts: cells that are not missing.
        of: what the records are. Of things, whose names may look like people's, the name of the
            column must say that it is about people; of people, it need not.
    """
    texts = [text.strip().removeprefix("'") for text in texts]  # as Excel keeps zeros
    if not texts:
        return None
    for meaning, recognises in _RECOGNISERS.items():
        if recognises(name, texts, of):
            return meaning
    return None


def _are_links(_: str, texts: Sequence[str], _of: Records) -> bool:
    def all_links(text: str) -> bool:
        parts = [part for part in re.split(r"[|;\s]+|,\s*(?=http|/|www)", text) if part]
        return bool(parts) and all(_LINK.fullmatch(part.rstrip(",")) for part in parts)

    return share(texts, all_links) >= MOST


def _are_hashes(_: str, texts: Sequence[str], _of: Records) -> bool:
    return share(texts, _HASH.fullmatch) >= MOST


def _are_barcodes(name: str, texts: Sequence[str], _of: Records) -> bool:
    bare = [re.sub(r"^'|\.0$|[ -]", "", text) for text in texts]
    if len(set(bare)) < FEWEST:
        return False
    if share(bare, _has_check_digit) >= (MOST if len(set(bare)) >= 5 else 1.0):
        return True
    # Excel writes them as 4.00638E+12, and half of a shop's own are invented.
    long = re.compile(r"\d{8,14}|\d{9}X|\d[.,]\d+[eE]\+?1\d")
    return names.mentions(name, names.BARCODE_WORDS) and share(bare, long.fullmatch) >= MOST


def _has_check_digit(text: str) -> bool:
    """GS1's check digit of 8, 12, 13 or 14 digits, or that of an ISBN of ten."""
    if re.fullmatch(r"\d{9}[\dX]", text):
        return sum((10 - at) * (10 if d == "X" else int(d)) for at, d in enumerate(text)) % 11 == 0
    if not text.isascii() or not text.isdecimal() or len(text) not in (8, 12, 13, 14):
        return False
    return sum(int(d) * (3 if at % 2 else 1) for at, d in enumerate(reversed(text))) % 10 == 0


def _are_postal_codes(name: str, texts: Sequence[str], _of: Records) -> bool:
    if share(texts, _BARE_POSTAL.fullmatch) >= MOST:
        return True
    plain = [text.removesuffix(".0") for text in texts]
    named = names.mentions(name, names.POSTAL_WORDS)
    return named and share(plain, lambda text: _POSTAL.fullmatch(text.upper())) >= MOST


def _are_measures(_: str, texts: Sequence[str], _of: Records) -> bool:
    plain = any(cell_forms.number_formats_of(text) for text in texts[:20])
    most = max(share(texts, _MEASURE.fullmatch), share(texts, _PRICE_AND_WORDS.fullmatch))
    return not plain and len(set(texts)) > MANY / 2 and most >= MOST


def _are_codes(name: str, texts: Sequence[str], _of: Records) -> bool:
    """Whether the cells are written as identifiers are; numbers only where digits show it."""
    bare = [text.removeprefix("'") for text in texts]
    digits = [text for text in bare if text.isascii() and text.isdecimal()]
    if len(digits) >= MOST * len(texts):
        padded = sum(len(text) > 1 and text[0] == "0" for text in digits)
        lengths = {len(text) for text in digits}
        long = sum(len(text) >= 9 for text in digits) >= MOST * len(texts)
        # Quantities of one length that never recur would be a strange chance.
        drawn = len(lengths) == 1 and min(lengths) >= 5 and len(set(digits)) > 0.98 * len(texts)
        long = long or (drawn and len(texts) >= MANY)
        return padded >= max(1, 0.005 * len(texts)) or long or _names_a_code(name)
    mixed = share(
        bare,
        lambda text: (
            _CODE.fullmatch(text.lstrip("#"))
            and any(map(str.isdigit, text))
            and (len(text) > 3 or text[0] == "#")
            and not cell_forms.number_formats_of(text)
        ),
    )
    return mixed >= MOST and len(set(texts)) > 20


def _names_a_code(name: str) -> bool:
    """Whether a name is of an identity and not of a number of things, as `num_pages` is."""
    words = names.words_of(name)
    counts = words[:1] in (("num",), ("number",)) and (
        words[1:2] == ("of",) or words[-1][-1] == "s"
    )
    return names.names_an_id(name) and not counts and not names.mentions(
        name, names.QUANTITY_WORDS
    )  # fmt: skip


_RECOGNISERS: Mapping[Meaning, Callable[[str, Sequence[str], Records], bool]] = {
    EMAILS: personal_cells.are_emails,
    LINKS: _are_links,
    IPS: personal_cells.are_ips,
    HASHES: _are_hashes,
    BARCODES: _are_barcodes,
    PHONES: personal_cells.are_phones,
    ACCOUNTS: personal_cells.are_accounts,
    POSTAL_CODES: _are_postal_codes,
    LOGINS: personal_cells.are_logins,
    MEASURES: _are_measures,
    NOTES: personal_cells.are_notes,
    STREETS: personal_cells.are_streets,
    PEOPLE: personal_cells.are_people,
    CODES: _are_codes,
}
"""In the order in which they are asked."""
