"""Writes a planted data set of any size, for which a feature spec and a run config are ready."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pipelines.datasets.fetch import replaced_tables
from pipelines.progress import Reporter
from pipelines.transforms.beam_job import run_pipeline
from pipelines.transforms.synthetic_tables import World, WriteWorld
from tfrs_twotower.errors import DataError

NAME = "synthetic"
"""Name of the directory, the feature spec and the run config."""
_EVENTS_PER_QUERY = 20


def make_synthetic(
    out: Path,
    *,
    interactions: int,
    candidates: int,
    queries: int | None,
    seed: int,
    reporter: Reporter,
    beam_options: Sequence[str] = (),
) -> Path:
    """Writes the tables and a `SOURCE.json` with size and seed; they replace earlier ones.

    Args:
        out: directory in which the data set gets a directory of its own.
        interactions: number of events.
        candidates: size of the corpus, at least 2.
        queries: number of users; by default one for every 20 events.
        seed: of all draws; the same seed and sizes give the same bytes.
        reporter: shows the progress.
        beam_options: Beam's pipeline options.

    Returns:
        `out/synthetic`.

    Raises:
        DataError: a number is too small, or the directory cannot be written.
        ConfigError: an option is unknown to Beam.
    """
    users = max(1, interactions // _EVENTS_PER_QUERY) if queries is None else queries
    for name, number, least in (
        ("interactions", interactions, 1), ("candidates", candidates, 2), ("queries", users, 1),
        ("seed", seed, 0),
    ):  # fmt: skip
        if number < least:
            raise DataError(
                f"dataset {NAME}: --{name} is {number}; it must be at least {least}. Raise it."
            )
    if interactions < users:
        raise DataError(
            f"dataset {NAME}: --interactions is {interactions} and --queries {users}; every query "
            "needs an interaction. Raise the first, or lower the second."
        )
    world = World(interactions, candidates, users, seed)
    destination = out / NAME
    with replaced_tables(destination, NAME) as (staging, record):
        directory = str(staging.resolve())
        run_pipeline(
            lambda pipeline: pipeline | WriteWorld(world, directory),
            beam_options,
            reporter,
            "make tables",
        )
        missing = [part.name for part in world.tables() if not (staging / part.name).is_file()]
        if missing:
            raise DataError(
                f"dataset {NAME}: the Beam runner lost {len(missing)} of {len(world.tables())} "
                f"files, such as {missing[0]}; all must be written. Run it again, or with another "
                "--runner."
            )
        record |= {"licence": "CC0", **asdict(world)}
    return destination
