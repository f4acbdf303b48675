"""The words in names of columns, in several languages, and what they hint at.

A name is the weaker witness: what the cells look like decides first (`cell_meanings`).
"""

import re
import unicodedata
from collections.abc import Container, Iterable
from functools import lru_cache

from tfrs_twotower.specs.declarations import RESERVED_NAMES

_LONGEST_NAME = 64
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_NUMBER_SIGN = re.compile(r"\b[nN][°º]|№|#")


def listed(words: str) -> tuple[str, ...]:
    """The words of a list that is written with blanks between them."""
    return tuple(words.split())


_ID_WORDS = frozenset(
    listed(
        "id ids key code no nr num number uuid guid uid pk nummer numero kennung ident identifier "
        "ref reference referenz referencia riferimento sku handle slug schlussel codigo codice "
        "clave"
    )
)
# In the lists a word stands for itself and its plural; with a star for all that begin with it.
# Letters have no accents.
QUERY_WORDS = listed(
    "user customer client member visitor person account household query question reader "
    "shopper buyer listener viewer device uid kunde* kaufer* kaeufer* nutzer* benutzer* "
    "mitglied* besucher* leser* debitor* kd acheteur utilisateur membre compte cliente "
    "usuario comprador utente gebruiker klant* klient*"
)
ITEM_WORDS = listed(
    "product item lineitem article artikel* art produkt* ware produit articulo producto prodotto "
    "articolo"
)
TITLE_WORDS = listed(
    "title name label headline heading titel nom bezeichnung benennung libelle designation "
    "intitule nombre titulo nome titolo naam denominazione denominacion produktname "
    "artikelname"
)
TEXT_WORDS = listed(
    "text query question description passage abstract body beschreibung langtext kurztext "
    "descripcion descrizione omschrijving content frage"
)
PERSON_WORDS = listed(
    "nazwisko imie efternamn fornamn etternavn fornavn prijmeni jmeno sobrenome apelido vorname "
    "nachname familienname firstname lastname surname forename fullname username prenom "
    "apellido cognome voornaam achternaam kundenname ansprechpartner empfanger empfaenger "
    "recipient contact kontakt besteller rechnungsempfanger"
)
LOGIN_WORDS = listed("login username nickname benutzername nutzername pseudo alias screenname")
NOTE_WORDS = listed(
    "note comment remark notiz kommentar bemerkung hinweis anmerkung instruction message nachricht "
    "commentaire remarque notas comentario"
)
MAKER_WORDS = listed(
    "author autor auteur artist artiste kunstler director regisseur brand marke marque marca "
    "hersteller manufacturer maker designer publisher verlag editeur lieferant supplier "
    "vendor category kategorie categorie gruppe group"
)
STREET_WORDS = listed(
    "street strasse str address adresse anschrift rue calle direccion via indirizzo adres "
    "straat address1 address2"
)
PHONE_WORDS = listed(
    "phone tel telefon* telephone mobile mobil handy fax fon rufnummer whatsapp "
    "portable telefono movil cellulare "
    "cell gsm mobilnummer"
)
POSTAL_WORDS = listed("zip zipcode postal postcode postleitzahl plz cp cap postalcode")
BIRTH_WORDS = listed("birth* dob geburt* geb geboren naissance nacimiento nascita geboorte* bday")
BARCODE_WORDS = listed("ean* gtin* upc isbn* barcode strichcode")
SECRET_WORDS = listed(
    "iban bic kontonummer creditcard kreditkarte password passwort passwd token hash ssn vat "
    "ustid steuernummer"
)
TIME_WORDS = listed(
    "time date datetime timestamp ts at when created day epoch datum zeit zeitpunkt "
    "zeitstempel erstellt angelegt uhrzeit heure fecha hora tijd tijdstip bestelldatum "
    "kaufdatum"
)
EVENT_TIME_WORDS = listed(
    "order* bestell* kauf* purchase* commande pedido ordine created erstellt placed event "
    "bought timestamp transaktion* transaction auftrag* achat fecha datum date"
)
LATER_TIME_WORDS = listed(
    "ship* versand* liefer* deliver* paid bezahl* zahl* paiement pay* update* modif* "
    "geaendert geandert change* return* retour* cancel* storn* refund* invoice* rechnung* "
    "register* due fallig expedition livraison fulfil* expire* birth* geburt* import* export*"
)
SESSION_WORDS = listed(
    "session basket invoice order cart visit trip transaction receipt bestell* auftrag* "
    "warenkorb* rechnung* beleg* bon kassenbon einkauf* vorgang* transaktion* sitzung* "
    "commande panier facture achat ticket pedido factura compra cesta ordine carrello fattura "
    "scontrino increment checkout purchase"
)
LINE_WORDS = listed(
    "line lineitem position pos zeile ligne linea item artikel* product* produkt* produit row "
    "rang index seq lfd detail date datum status total amount betrag count"
)
LABEL_WORDS = listed(
    "rating stars score grade label relevance feedback preference bewertung note valoracion"
)
WEIGHT_WORDS = ("weight", "importance")
QUANTITY_WORDS = listed(
    "quantity qty anz count plays amount units menge anzahl stuck stueck quantite qte cantidad "
    "quantita aantal stk pcs"
)
STATUS_WORDS = listed("status state zustand statut etat estado stato event action typ type")
SPLIT_WORDS = ("split", "fold", "subset", "partition")
_COMPOUND_ENDS = (
    *("nummer", "nr", "number", "code", "kennung", "datum", "preis", "status", "menge", "anzahl"),
    *("bezeichnung", "beschreibung", "name", "titel", "betrag", "strasse", "straße", "adresse"),
    *("zeile", "position", "gruppe", "kategorie"),
)
_WHOLE = frozenset(
    word
    for words in (PERSON_WORDS, POSTAL_WORDS, BARCODE_WORDS, SECRET_WORDS, PHONE_WORDS)
    for word in words
)


@lru_cache(maxsize=4096)
def words_of(name: str) -> tuple[str, ...]:
    """The words of a column's name in lower case; camel case, digits and signs separate them.

    German compounds give up their last part: `Artikelnr` is `artikel`, `nr`; English ones theirs
    where it is an identity: `productid`.
    """
    spaced = _CAMEL_CASE.sub(" ", _NUMBER_SIGN.sub(" no ", name)).lower()
    return tuple(part for word in re.findall(r"[^\W\d_]+|\d+", spaced) for part in _parts_of(word))


def _parts_of(word: str) -> tuple[str, ...]:
    if word in _WHOLE:
        return (word,)
    for end in _COMPOUND_ENDS:
        if word.endswith(end) and len(word) >= len(end) + 3:
            return (word[: -len(end)].removesuffix("s") or word, end)
    if word.endswith("id") and _is_among(word[:-2], (*QUERY_WORDS, *ITEM_WORDS, *SESSION_WORDS)):
        return (word[:-2], "id")
    return (word,)


def folded(text: str) -> str:
    """A text in lower case without accents."""
    marks = unicodedata.normalize("NFKD", text.casefold().replace("ß", "ss"))
    return "".join(mark for mark in marks if not unicodedata.combining(mark))


def names_an_id(name: str) -> bool:
    """Whether a column with this name holds identities, such as `Customer ID`."""
    return bool(_ID_WORDS & set(map(folded, words_of(name))))


def mentions(name: str, hints: Iterable[str]) -> bool:
    """Whether one of the hints is among the words of a name."""
    hints = tuple(hints)
    return any(_is_among(word, hints) for word in words_of(name))


def _is_among(word: str, hints: Iterable[str]) -> bool:
    plain = folded(word)
    forms = {plain, _singular(plain)}
    return any(
        plain.startswith(hint[:-1]) if hint.endswith("*") else hint in forms for hint in hints
    )


def names_a_person(name: str) -> bool:
    """Whether a column with this name holds names of people, such as `First Name`."""
    words = set(map(folded, words_of(name)))
    if mentions(name, (*MAKER_WORDS, *ITEM_WORDS)):
        return False
    naming = words & {"name", "nom", "nombre", "nome", "naam"}
    whose = {"first", "last", "given", "family", "full", "middle", "billing", "shipping"}
    return mentions(name, PERSON_WORDS) or bool(
        naming and (words & whose or mentions(name, QUERY_WORDS))
    )


def subject_of(name: str) -> frozenset[str]:
    """The words of a name in the singular, without those that only mean identity."""
    return frozenset(_singular(word) for word in words_of(name) if folded(word) not in _ID_WORDS)


def last_subject(name: str) -> str:
    """The last word of a name that does not only mean identity; "" without one."""
    return next((w for w in reversed(words_of(name)) if folded(w) not in _ID_WORDS), "")


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def feature_name(column: str, taken: Container[str] = ()) -> str:
    """A feature name (`[a-z][a-z0-9_]*`) for a column that differs from every name in `taken`."""
    plain = unicodedata.normalize("NFKD", column).encode("ascii", "ignore").decode()
    name = "_".join(re.findall(r"[a-z0-9]+", _CAMEL_CASE.sub(" ", plain).lower())) or "column"
    if not name[0].isalpha():
        name = f"column_{name}"
    name = name[: _LONGEST_NAME - 4]
    number, unique = 1, name
    while unique in taken or unique in RESERVED_NAMES:
        number += 1
        unique = f"{name}_{number}"
    return unique
