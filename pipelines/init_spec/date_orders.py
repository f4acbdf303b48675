"""Decides whether the day or the month is first where no date of a column tells."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pipelines.init_spec.profiles import Profile, Profiles
from pipelines.init_spec.samples import Sample
from pipelines.init_spec.times import TimeUnit, WrittenTimes
from tfrs_twotower.errors import DataError
from tfrs_twotower.tables.local_times import DateOrder, parse_local_time

_ORDERS: tuple[DateOrder, ...] = ("dmy", "mdy")


def settle(
    tables: Mapping[str, tuple[Sample | None, Profiles]], asked: TimeUnit | None
) -> dict[str, Profiles]:
    """The profiles with the order of their dates decided, as far as that can be.

    Of dates that may be either, the order is the one that was asked for, that of all other dates of
    the tables, or, with decimal commas or semicolons between fields, the day first: nobody who
    writes those puts the month first.

    Args:
        tables: sample and profiles by name of the table; no sample, no profiles.
        asked: `dmy`, `mdy`, or None.
    """
    sure = {
        profile.times.unit
        for _, profiles in tables.values()
        for profile in profiles.values()
        if profile.times and not profile.times.either_order and profile.times.unit in ("dmy", "mdy")
    }
    commas = any(
        sample.options.get("decimal") == "," or sample.options.get("delimiter") == ";"
        for sample, _ in tables.values()
        if sample
    ) or any(
        profile.number_format == "comma"
        for _, profiles in tables.values()
        for profile in profiles.values()
    )
    order = asked or (sure.pop() if len(sure) == 1 else "dmy" if commas and not sure else None)
    if order is None:
        return {name: profiles for name, (_, profiles) in tables.items()}
    return {
        name: {column: _in_order(profile, order) for column, profile in profiles.items()}
        for name, (_, profiles) in tables.items()
    }


def _in_order(profile: Profile, order: TimeUnit) -> Profile:
    if profile.times is None or not profile.times.either_order:
        return profile
    return replace(profile, times=WrittenTimes(order))


def refuse_unknown(path: Path, profile: Profile) -> None:
    """Asks for the order of the dates of a column.

    Raises:
        DataError: it is not known.
    """
    cell = profile.times.either_order if profile.times else ""
    if cell:
        first, second = (f"{parse_local_time(cell, order):%d %B}" for order in _ORDERS)
        raise DataError(
            f"{path}: column '{profile.name}': no date tells whether the day or the month is first "
            f"(found '{cell}', which may be {first} or {second}). Say --date-order dmy or "
            "--date-order mdy."
        )
