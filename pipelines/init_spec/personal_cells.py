"""Recognises cells that tell who or where a person is: addresses, phone numbers, names.

Each function takes the name of a column, texts of its cells, and what the records are.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Literal

from pipelines.init_spec import column_names as names

Records = Literal["people", "events", "things"]
"""What the records of a table are: queries (as a rule people), events of them, or candidates."""
_NAME_WORDS = ("name", "nom", "nombre", "nome", "naam", "kunde", "client", "customer")
MOST = 0.9
FEWEST = 3
MANY = 40
_EMAIL = re.compile(r"(?:mailto:)?[^@\s,;<>]+@[^@\s,;<>]+\.[A-Za-z]{2,}")
_PHONE = re.compile(r"(?:\+|00|\(?0|\()[\d ()/.\u00a0-]{6,22}|\(?\d{3}\)?[-. ]\d{3}[-. ]\d{4}")
_LOOSE_PHONE = re.compile(r"\+?[\d ()/.\u00a0-]{5,22}(?: ?(?:x|ext\.?) ?\d+)?")
_ACCOUNT = re.compile(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?")
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
    rf"|.* (?:{_STREETS[1]}) {_HOUSE}|(?:{_HOUSE},? )?(?:{_STREETS[2]}) .*"
    r"|(?:p\.? ?o\.? box|postfach|bp) \d.*",
    re.IGNORECASE,
)
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


def share(texts: Sequence[str], accepts: Callable[[str], object]) -> float:
    """Share of the texts that are accepted, 0 to 1."""
    return sum(bool(accepts(text)) for text in texts) / len(texts)


def are_emails(_: str, texts: Sequence[str], _of: Records) -> bool:
    """Whether the cells are e-mail addresses."""
    return share(texts, _EMAIL.fullmatch) >= MOST


def are_ips(_: str, texts: Sequence[str], _of: Records) -> bool:
    """Whether the cells are addresses of the Internet Protocol, of version 4 or 6."""

    def is_ip(text: str) -> bool:
        try:
            ipaddress.ip_address(text.split("/")[0])
        except ValueError:
            return False
        return True

    return share(texts, is_ip) >= MOST


def are_accounts(name: str, texts: Sequence[str], _of: Records) -> bool:
    """Whether the cells are IBANs, or by name passwords, cards or numbers of tax payers."""
    if share(texts, _ACCOUNT.fullmatch) >= MOST:
        return True
    named = names.mentions(name, names.SECRET_WORDS)
    return named and share(texts, lambda text: len(text) > 4 and " " not in text) >= MOST


def are_phones(name: str, texts: Sequence[str], of: Records) -> bool:
    """Whether the cells are phone numbers; digits alone need a name that says so."""

    def digits(text: str) -> int:
        return sum(map(str.isdigit, text))

    def is_phone(text: str) -> bool:
        fraction = re.fullmatch(r"\d+[.,]\d+", text)
        return bool(_PHONE.fullmatch(text)) and not fraction and 7 <= digits(text) <= 15

    marked = share(texts, lambda text: not text.isdigit()) >= 0.5
    if of != "things" and marked and share(texts, is_phone) >= MOST:
        return True
    loose = share(texts, lambda t: _LOOSE_PHONE.fullmatch(t) and 5 <= digits(t) <= 15) >= MOST
    return names.mentions(name, names.PHONE_WORDS) and loose


def are_streets(name: str, texts: Sequence[str], of: Records) -> bool:
    """Whether the cells are streets with house numbers."""
    formed = share(texts, _STREET.fullmatch)
    if of != "things" and formed >= 0.6 and share(texts, _HAS_DIGIT.search) >= 0.6:
        return True
    worded = share(texts, lambda text: any(map(str.isalpha, text)) and len(text) > 5)
    named = names.mentions(name, names.STREET_WORDS) and not names.mentions(
        name, ("ip", "mail", "email", "web")
    )
    return named and worded >= MOST and (share(texts, _HAS_DIGIT.search) >= 0.3 or formed >= 0.3)


def are_people(name: str, texts: Sequence[str], of: Records) -> bool:
    """Whether the cells are names of people, or parts of them."""

    def is_name(text: str) -> bool:
        tokens = text.split()
        capital = any(token[0].isupper() for token in tokens)
        return 1 <= len(tokens) <= 5 and capital and all(map(_NAME_TOKEN.fullmatch, tokens))

    def is_given(text: str) -> bool:
        parts = re.split(r"[\s-]+", names.folded(text))
        return any(part.strip(".,") in _GIVEN_NAMES for part in parts)

    if share(texts, is_name) < MOST or len(set(texts)) < FEWEST:
        return False
    if names.mentions(name, (*names.MAKER_WORDS, *names.ITEM_WORDS)):
        return False  # authors and artists are known to the public
    known = share(texts, is_given)
    different = len(set(texts))
    varied = known >= 0.1 or different >= MANY / 2 or different > 0.05 * len(texts)
    named = names.names_a_person(name) or (of == "people" and names.mentions(name, _NAME_WORDS))
    return (named and varied) or (of != "things" and known >= 0.4)


def are_logins(name: str, texts: Sequence[str], of: Records) -> bool:
    """Whether the cells are the names by which people log in."""
    single = share(texts, lambda text: len(text.split()) == 1) >= MOST
    varied = len(set(texts)) > 0.3 * len(texts)
    return of != "things" and names.mentions(name, names.LOGIN_WORDS) and single and varied


def are_notes(name: str, texts: Sequence[str], of: Records) -> bool:
    """Whether the cells are what somebody wrote about a person or an order."""
    prose = share(texts, lambda text: len(text.split()) > 2) >= 0.5
    return of != "things" and names.mentions(name, names.NOTE_WORDS) and prose
