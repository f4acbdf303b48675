"""Which events a first spec leaves out, which it should be asked about, and how many will be bad.

What no model can use is left out at once: events without a query or a time, those that all guests
share, charges that stand among the articles. Events that may be no purchases (cancelled, returned)
are for people to decide: the spec names their column, its values and their shares.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.init_spec import column_names as names
from pipelines.init_spec.identifiers import IdMatch
from pipelines.init_spec.profiles import Profile, Profiles
from pipelines.init_spec.roles import event_times
from pipelines.init_spec.samples import Sample
from tfrs_twotower.config.stage_configs import PreprocessConfig
from tfrs_twotower.data.ids import plain_id

_UNDONE = names.listed(
    "cancel* storn* annul* anul* return* retour* retur* refund* rembours* reembols* failed "
    "fail* fehlgeschlagen abgebrochen erstattet gutschrift void* declin* reject* abgelehnt "
    "chargeback abandon* fraud error zuruck* zurueck* widerruf* devuelt* devol* rimbors* reso "
    "geannuleerd teruggestuurd expired denied verfallen undelivered lost"
)
_DONE = names.listed(
    "paid bezahl* complet* abgeschlossen ship* versand* versend* verschick* deliver* "
    "geliefert ausgeliefert zugestellt pending processing process* open offen bearbeitung "
    "hold paye* expedi* livre* cours termine* pagad* enviad* entregad* pendient* pagat* "
    "spedit* consegnat* betaald verzonden fulfilled unfulfilled authorized partial* success* "
    "approved closed new neu confirmed bestatigt attente valide* purchase* buy kauf* view* "
    "click* cart addtocart transaction impression wishlist"
)
_YES = frozenset(("1", "y", "yes", "j", "ja", "true", "wahr", "oui", "o", "vrai", "si", "x", "t"))
_FEW_STATES = 30
_GUESTS = frozenset(names.listed("0 -1 guest gast invite anonymous anonym unknown unbekannt none"))
_LEAST_GUESTS = 0.02
_LEAST_GAPS = 0.005
_FEW_CHARGES = 5
_MOST_UNKNOWN = 0.5
_MOST_SHOWN = 8


@dataclass(frozen=True)
class LeftOut:
    """Values of a column of the interactions whose records are left out, or might be."""

    column: str
    values: tuple[str, ...]
    reason: str


def unusable_events(
    profiles: Profiles, match: tuple[IdMatch, IdMatch], timestamp: str | None, corpus: Profile
) -> list[LeftOut]:
    """The events that have no query, no candidate or no time, or those of somebody unknown.

    Args:
        profiles: of the interactions.
        match: the matches of the query id and of the candidate id.
        timestamp: column of the time.
        corpus: the ids of the table of candidates.
    """
    query, candidate = match
    found: list[LeftOut] = []
    for column, what in ((query.column, "query"), (candidate.column, "candidate"), (timestamp, "")):
        profile = profiles.get(column or "")
        values: list[str] = []
        said: list[str] = []
        if profile is not None and profile.missing > _LEAST_GAPS:
            values.append("")
            said.append(f"{profile.missing:.0%} of the events have none")
        if profile is not None and what == "query":
            guests = _guests(profile)
            values += guests
            said += [f"'{guest}' stands for everybody without an account" for guest in guests]
        if profile is not None and what == "candidate" and not candidate.whole_numbers:
            charges = _charges(profile, corpus)
            values += charges
            said += ["not among the candidates: charges?"] if charges else []
        if column is not None and values:
            found.append(LeftOut(column, tuple(values), "; ".join(said)))
    return found


def _guests(profile: Profile) -> list[str]:
    return [
        value
        for value, number in profile.counts.most_common(2)
        if names.folded(value) in _GUESTS and number >= _LEAST_GUESTS * len(profile.present)
    ]


def _charges(profile: Profile, corpus: Profile) -> list[str]:
    """The few ids without a candidate, such as that of postage, that stand in many events."""
    unknown = Counter({v: n for v, n in profile.counts.items() if v not in corpus.counts})
    common = [v for v, n in unknown.most_common(_FEW_CHARGES) if n >= 0.002 * len(profile.present)]
    share = sum(unknown.values()) / max(len(profile.present), 1)
    covered = sum(unknown[value] for value in common)
    if not _LEAST_GAPS < share <= _MOST_UNKNOWN or covered < 0.5 * sum(unknown.values()):
        return []
    return common


def events_to_question(profiles: Profiles, columns: Iterable[str]) -> list[LeftOut]:
    """The columns that say whether an event is what one wants to predict, with a proposal."""
    found = []
    for column in columns:
        profile = profiles[column]
        if not profile.counts or not 1 < profile.distinct <= _FEW_STATES or profile.times:
            continue
        values = [value for value, _ in profile.counts.most_common()]
        undone = tuple(value for value in values if _is_one_of(value, _UNDONE))
        done = [value for value in values if _is_one_of(value, _DONE) and value not in undone]
        named = names.mentions(column, names.STATUS_WORDS)
        flag = names.mentions(column, _UNDONE) and profile.distinct <= 3
        if not ((undone and (done or named)) or len(done) > 1 or named or flag):
            continue
        if flag and not undone:
            undone = tuple(value for value in values if names.folded(value) in _YES)
        shares = [f"{v} {_percent(n, profile)}" for v, n in profile.counts.most_common(_MOST_SHOWN)]
        more = ", ..." if profile.distinct > _MOST_SHOWN else ""
        gaps = f"; {profile.missing:.0%} of the events have none" if profile.missing else ""
        found.append(LeftOut(column, undone, f"{', '.join(shares)}{more}{gaps}"))
    return found


def _percent(number: int, profile: Profile) -> str:
    return f"{number / len(profile.present):.1%}"


def _is_one_of(value: str, stems: Sequence[str]) -> bool:
    return names.mentions(value, stems)


def expected_bad_share(
    profiles: Mapping[str, Profiles],
    samples: Mapping[str, Sample],
    match: tuple[IdMatch, IdMatch],
    time: tuple[str | None, str | None],
    left_out: Sequence[LeftOut],
) -> float:
    """The largest share of records of a table that preprocessing will call bad, 0 to 1.

    Args:
        profiles: of the columns, by table.
        samples: of the interactions and of the candidates.
        match: the matches of the query id and of the candidate id.
        time: column and unit of the events' time.
        left_out: the events that the spec leaves out.
    """
    shares = [0.0]
    for table, side in (("queries", match[0]), ("candidates", match[1])):
        identity = profiles[table].get(side.entity_column or "")
        if identity is not None:
            shares.append(1 - identity.distinct / max(identity.num_records, 1))
    events, corpus = profiles["interactions"], profiles["candidates"]
    candidate = events[match[1].column]
    known: set[str] = set(corpus[match[1].entity_column or ""].counts)
    plain = plain_id if match[1].whole_numbers else str.strip
    known = {plain(value) for value in known}
    dropped = {value for one in left_out if one.column == candidate.name for value in one.values}
    bad = 0
    if samples["candidates"].complete:
        bad += sum(
            number
            for value, number in candidate.counts.items()
            if plain(value) not in known and value not in dropped
        )
    if time[0] is not None and time[1] is not None:
        bad += sum(one is None for one in event_times(events[time[0]].present, time[1]))
    shares.append(bad / max(samples["interactions"].num_records, 1))
    return max(shares)


def tolerance_for(share: float) -> float | None:
    """The `preprocess.max_bad_fraction` that a share of bad records needs; None for the default."""
    default = PreprocessConfig().max_bad_fraction
    if share <= 0.7 * default or share > _MOST_UNKNOWN:
        return None
    return math.ceil(150 * share) / 100
