"""`comparison.json` as classes: several runs, each trained with several seeds, side by side.

`docs/schemas/comparison.schema.json` is generated from them. Everything but `timings` is the same
for equal runs.
"""

from typing import Literal

from pydantic import Field, JsonValue

from tfrs_twotower.evaluation.evaluation_document import Verdict
from tfrs_twotower.evaluation.written_documents import Environment, Finite, Part


class SeedFigure(Part):
    """One metric over the seeds."""

    mean: Finite
    """Mean over the seeds."""
    sd: Finite | None
    """Standard deviation between seeds (n - 1); null for one seed."""
    by_seed: tuple[Finite, ...]
    """The value of each seed, in their order."""


class ComparedSystem(Part):
    """One system of one run."""

    run: str
    """Name of the run; for a baseline, the run that fitted it."""
    label: str
    """Name of the run in tables."""
    system: str
    """Name of the system, such as `retrieval`."""
    kind: Literal["model", "baseline"]
    """A model's figures depend on the seed; a baseline has one value."""
    metrics: dict[str, SeedFigure]
    """Every metric that all seeds have."""


class SystemOfRun(Part):
    """One side of a test."""

    run: str
    """Name of the run."""
    system: str
    """Name of the system."""


class Probability(Part):
    """A p-value."""

    p: Finite | None
    """Uncorrected p; null for one seed."""
    p_holm: Finite | None
    """After Holm's correction over the family."""


class SeedTest(Part):
    """A paired test of two systems on one metric."""

    a: SystemOfRun
    """The first system."""
    b: SystemOfRun
    """The system it is compared with."""
    metric: str
    """The metric that is compared."""
    difference: Finite
    """Mean of a minus mean of b."""
    seeds: int
    """Number of seeds that were compared."""
    over_queries: Probability
    """Whether other queries would show the same (values averaged over seeds)."""
    over_seeds: Probability
    """Whether other trainings would show the same (values averaged over queries)."""
    both: Probability
    """The larger of the two p-values."""
    significant: bool
    """Whether `both` is below .05 after Holm's correction."""


class FamiliesOfTests(Part):
    """The tests of one table; each family has a Holm's correction of its own."""

    runs: tuple[SeedTest, ...]
    """Every further run's systems against the reference's; a cascade is tested against the
    reference's retrieval if the reference has no cascade."""
    stages: tuple[SeedTest, ...]
    """`cascade`, `hybrid` and `cross_encoder` against `retrieval` of the same run."""
    baselines: tuple[SeedTest, ...]
    """Every run's systems against the baselines that lead in some metric."""


class ComparisonTable(Part):
    """Runs that were judged on the same corpus, queries and truth with the same list lengths."""

    dataset: str
    """Name of the feature spec."""
    judged_on: str
    """Hash of what the runs were judged on."""
    test_queries: int
    """Queries that are reported."""
    ranked_candidates: int
    """Candidates that may be ranked."""
    relevant_pairs: int
    """Relevant pairs of the test."""
    metrics: tuple[str, ...]
    """The key metrics."""
    reference: str
    """Name of the run that the others are tested against."""
    systems: tuple[ComparedSystem, ...]
    """The runs in their given order, then the baselines, best first. A first stage that a further
    run shares with the reference, query by query, is listed once."""
    tests: FamiliesOfTests
    """Paired tests."""
    verdicts: dict[str, Verdict] = {}
    """By run: how its last stage stands against the leading baselines; not in documents of earlier
    versions."""


class SettingChange(Part):
    """One setting in two run configs; a side that does not have it is left out."""

    before: JsonValue = Field(default=None, validation_alias="from", serialization_alias="from")
    """Value in the reference."""
    after: JsonValue = Field(default=None, validation_alias="to", serialization_alias="to")
    """Value in the run."""


class ComparedRun(Part):
    """One run of the comparison."""

    name: str
    """Name of the run, unique in the comparison."""
    label: str
    """Name of the run in tables."""
    dataset: str
    """Name of its feature spec."""
    judged_on: str
    """Hash of what it was judged on."""
    spec: str
    """Path of its feature spec."""
    directory: str
    """Directory of its seeds, relative to the comparison."""
    baselines_of: str
    """Name of the run that fitted the baselines for this one."""
    changes: dict[str, SettingChange]
    """Settings that differ from the table's reference, by key."""
    leakage: Literal["clean", "leaky"]
    """Verdict of the leakage check."""


class ComparisonDocument(Part):
    """Several runs over several seeds."""

    schema_version: Literal[1]
    """Version of this format."""
    seeds: tuple[int, ...]
    """The seeds that each run was trained with."""
    tables: tuple[ComparisonTable, ...]
    """One table for each data that runs were judged on."""
    runs: tuple[ComparedRun, ...]
    """Every run, in the given order."""
    environment: Environment
    """Where the figures were measured."""
    timings: dict[str, dict[str, dict[str, Finite]]]
    """Seconds by run, seed and stage."""
