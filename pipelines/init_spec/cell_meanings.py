"""What the cells of a column are, beyond their type: addresses, codes, names of people, links.

The form of the cells decides. Where a form fits several things (five digits may be a postal code or
a price in cents), the name must agree; a name alone decides nothing. Plain functions on text.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.init_spec import column_names as names
from pipelines.transforms import cell_forms

Records = Literal["people", "events", "things"]
"""What the records of a table are: queries (as a rule people), events of them, or candidates."""
_NAME_WORDS = ("name", "nom", "nombre", "nome", "naam", "kunde", "client", "customer")
_MOST = 0.9
_FEWEST = 3
_EMAIL = re.compile(r"(?:mailto:)?[^@\s,;<>]+@[^@\s,;<>]+\.[A-Za-z]{2,}")
_LINK = re.compile(
    r"(?:(?:https?|ftp|s3|gs):)?//\S+|www\.\S+"
    r"|[^\s<>]+\.(?:jpe?g|png|gif|webp|svg|avif|bmp|tiff?|pdf|mp4|html?|php)(?:\?\S*)?",
    re.IGNORECASE,
)
_HASH = re.compile(
    r"\{?[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\}?"
    r"|(?=.*[0-9])(?=.*[a-fA-F])[0-9a-fA-F]{16,128}"
)
_PHONE = re.compile(r"(?:\+|00|\(?0|\()[\d ()/.\u00a0-]{6,22}|\(?\d{3}\)?[-. ]\d{3}[-. ]\d{4}")
_LOOSE_PHONE = re.compile(r"\+?[\d ()/.\u00a0-]{5,22}(?: ?(?:x|ext\.?) ?\d+)?")
_ACCOUNT = re.compile(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?")
_POSTAL = re.compile(
    r"(?:[A-Z]{1,2}-)?\d{4,6}(?:-\d{3,4})?|\d{3}|\d{2,3}[- ]\d{2,4}|\d{4} ?[A-Z]{2}"
    r"|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[A-Z]\d[A-Z] ?\d[A-Z]\d"
)
_BARE_POSTAL = re.compile(r"[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}|[A-Z]\d[A-Z] \d[A-Z]\d|\d{4} [A-Z]{2}")
_STREETS = (
    r"str\.?|straße|strasse|weg|platz|allee|gasse|straat|laan|plein",
    r"street|st\.?|avenue|ave\.?|road|rd\.?|lane|ln\.?|drive|dr\.?|boulevard|blvd\.?|court|ct\.?"
    r"|way|place|pl\.?|terrace|square",
    r"rue|chemin|impasse|quai|allée|avenue|boulevard|place|cours|route|via|viale|piazza|corso|calle"
    r"|avenida|plaza|paseo|camino",
)
_HOUSE = r"\d{1,5}(?:\s?[-/]\s?\d{1,4})?\s?(?:[a-z]|bis|ter)?"
_STREET = re.compile(
    rf".*(?:{_STREETS[0]}),? {_HOUSE}(?:,.*)?|{_HOUSE},? .* (?:{_STREETS[1]})(?:[ ,].*)?"
    rf"|(?:{_HOUSE},? )?(?:{_STREETS[2]}) .*|(?:p\.? ?o\.? box|postfach|bp) \d.*",
    re.IGNORECASE,
)
_CODE = re.compile(r"#?[^\W_]+(?:[-_./#:+][^\W_]+)*")
_HAS_DIGIT = re.compile(r"\d")
_NAME_TOKEN = re.compile(r"(?:[^\W\d_]\.?|[^\W\d_]+\.?)(?:['\u2019-][^\W\d_]+)*,?")
_GIVEN_NAMES = frozenset(
    names.listed(
        "anna maria peter michael thomas andreas wolfgang klaus jurgen gunter stefan christian "
        "uwe werner horst frank dieter manfred gerhard hans bernd matthias martin sabine petra "
        "monika claudia susanne andrea birgit karin ursula renate helga julia katharina sarah "
        "lisa laura lena leon lukas jonas felix paul max maximilian tim jan jens sven ralf heike "
        "silke nicole stefanie melanie tanja daniel markus tobias sebastian florian philipp "
        "alexander johannes emma mia hannah sophie sofia lea marie james john robert david "
        "william richard joseph charles christopher matthew anthony mark donald steven andrew "
        "joshua kenneth kevin brian george timothy mary patricia jennifer linda elizabeth barbara "
        "susan jessica karen nancy betty margaret sandra ashley emily donna michelle carol amanda "
        "jean pierre michel philippe alain bernard christophe nicolas jacques francois eric "
        "laurent julien olivier vincent guillaume sylvie isabelle catherine martine nathalie "
        "christine monique francoise valerie camille chloe manon ines louis lucas hugo jules "
        "antonio jose manuel francisco juan javier carlos miguel angel luis carmen ana pilar "
        "dolores cristina giuseppe giovanni mario luigi francesco paolo marco giulia chiara "
        "giorgia alessandro lorenzo matteo jacob emil oscar noah liam oliver ethan mason olivia "
        "ava isabella charlotte amelia harper evelyn ella henry jack samuel ben eva clara greta "
        "ida nina nora ingrid astrid lars erik anders mohammed ahmed fatima ali yusuf mehmet ayse "
        "piotr agnieszka katarzyna tomasz ivan olga elena dmitri wei li ming priya raj ravi"
    )
)


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


def _share(texts: Sequence[str], accepts: Callable[[str], object]) -> float:
    return sum(bool(accepts(text)) for text in texts) / len(texts)


def _are_emails(_: str, texts: Sequence[str], _of: Records) -> bool:
    return _share(texts, _EMAIL.fullmatch) >= _MOST


def _are_links(_: str, texts: Sequence[str], _of: Records) -> bool:
    def all_links(text: str) -> bool:
        parts = [part for part in re.split(r"[|;\s]+|,\s*(?=http|/|www)", text) if part]
        return bool(parts) and all(_LINK.fullmatch(part.rstrip(",")) for part in parts)

    return _share(texts, all_links) >= _MOST


def _are_ips(_: str, texts: Sequence[str], _of: Records) -> bool:
    def is_ip(text: str) -> bool:
        try:
            ipaddress.ip_address(text.split("/")[0])
        except ValueError:
            return False
        return True

    return _share(texts, is_ip) >= _MOST


def _are_hashes(_: str, texts: Sequence[str], _of: Records) -> bool:
    return _share(texts, _HASH.fullmatch) >= _MOST


def _are_accounts(name: str, texts: Sequence[str], _of: Records) -> bool:
    if _share(texts, _ACCOUNT.fullmatch) >= _MOST:
        return True
    named = names.mentions(name, names.SECRET_WORDS)
    return named and _share(texts, lambda text: len(text) > 4 and " " not in text) >= _MOST


def _are_barcodes(name: str, texts: Sequence[str], _of: Records) -> bool:
    bare = [re.sub(r"^'|\.0$|[ -]", "", text) for text in texts]
    if len(set(bare)) < _FEWEST:
        return False
    if _share(bare, _has_check_digit) >= (_MOST if len(set(bare)) >= 5 else 1.0):
        return True
    # Excel writes them as 4.00638E+12, and half of a shop's own are invented.
    long = re.compile(r"\d{8,14}|\d{9}X|\d[.,]\d+[eE]\+?1\d")
    return names.mentions(name, names.BARCODE_WORDS) and _share(bare, long.fullmatch) >= _MOST


def _has_check_digit(text: str) -> bool:
    """GS1's check digit of 8, 12, 13 or 14 digits, or that of an ISBN of ten."""
    if re.fullmatch(r"\d{9}[\dX]", text):
        return sum((10 - at) * (10 if d == "X" else int(d)) for at, d in enumerate(text)) % 11 == 0
    if not text.isascii() or not text.isdecimal() or len(text) not in (8, 12, 13, 14):
        return False
    return sum(int(d) * (3 if at % 2 else 1) for at, d in enumerate(reversed(text))) % 10 == 0


def _are_phones(name: str, texts: Sequence[str], of: Records) -> bool:
    def digits(text: str) -> int:
        return sum(map(str.isdigit, text))

    def is_phone(text: str) -> bool:
        fraction = re.fullmatch(r"\d+[.,]\d+", text)
        return bool(_PHONE.fullmatch(text)) and not fraction and 7 <= digits(text) <= 15

    marked = _share(texts, lambda text: not text.isdigit()) >= 0.5
    if of != "things" and marked and _share(texts, is_phone) >= _MOST:
        return True
    loose = _share(texts, lambda t: _LOOSE_PHONE.fullmatch(t) and 5 <= digits(t) <= 15) >= _MOST
    return names.mentions(name, names.PHONE_WORDS) and loose


def _are_postal_codes(name: str, texts: Sequence[str], _of: Records) -> bool:
    if _share(texts, _BARE_POSTAL.fullmatch) >= _MOST:
        return True
    plain = [text.removesuffix(".0") for text in texts]
    named = names.mentions(name, names.POSTAL_WORDS)
    return named and _share(plain, lambda text: _POSTAL.fullmatch(text.upper())) >= _MOST


def _are_streets(name: str, texts: Sequence[str], of: Records) -> bool:
    formed = _share(texts, _STREET.fullmatch)
    if of != "things" and formed >= 0.6 and _share(texts, _HAS_DIGIT.search) >= 0.6:
        return True
    worded = _share(texts, lambda text: any(map(str.isalpha, text)) and len(text) > 5)
    named = names.mentions(name, names.STREET_WORDS) and not names.mentions(
        name, ("ip", "mail", "email", "web")
    )
    return named and worded >= _MOST and (_share(texts, _HAS_DIGIT.search) >= 0.3 or formed >= 0.3)


def _are_people(name: str, texts: Sequence[str], of: Records) -> bool:
    def is_name(text: str) -> bool:
        tokens = text.split()
        capital = any(token[0].isupper() for token in tokens)
        return 1 <= len(tokens) <= 5 and capital and all(map(_NAME_TOKEN.fullmatch, tokens))

    def is_given(text: str) -> bool:
        parts = re.split(r"[\s-]+", names.folded(text))
        return any(part.strip(".,") in _GIVEN_NAMES for part in parts)

    if _share(texts, is_name) < _MOST or len(set(texts)) < _FEWEST:
        return False
    if names.mentions(name, names.MAKER_WORDS):
        return False  # authors and artists are known to the public
    known = _share(texts, is_given)
    varied = len(set(texts)) > 0.05 * len(texts)
    named = names.names_a_person(name) or (of == "people" and names.mentions(name, _NAME_WORDS))
    return (named and varied) or (of != "things" and known >= 0.4)


def _are_codes(name: str, texts: Sequence[str], _of: Records) -> bool:
    """Whether the cells are written as identifiers are; numbers only where digits show it."""
    bare = [text.removeprefix("'") for text in texts]
    digits = [text for text in bare if text.isascii() and text.isdecimal()]
    if len(digits) >= _MOST * len(texts):
        padded = sum(len(text) > 1 and text[0] == "0" for text in digits)
        lengths = {len(text) for text in digits}
        long = len(lengths) == 1 and min(lengths) >= 9
        return padded >= max(1, 0.005 * len(texts)) or long or _names_a_code(name)
    mixed = _share(
        bare,
        lambda text: (
            _CODE.fullmatch(text.lstrip("#"))
            and any(map(str.isdigit, text))
            and (len(text) > 3 or text[0] == "#")
            and not cell_forms.number_formats_of(text)
        ),
    )
    return mixed >= _MOST and len(set(texts)) > 20


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
    EMAILS: _are_emails,
    LINKS: _are_links,
    IPS: _are_ips,
    HASHES: _are_hashes,
    BARCODES: _are_barcodes,
    PHONES: _are_phones,
    ACCOUNTS: _are_accounts,
    POSTAL_CODES: _are_postal_codes,
    STREETS: _are_streets,
    PEOPLE: _are_people,
    CODES: _are_codes,
}
"""In the order in which they are asked."""
