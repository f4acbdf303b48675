"""A run as components receive it: its documents in one file, and what the cache must notice.

TFX runs a component again if its execution properties or its inputs have changed, and sees names
only. So each component is given the fingerprint of everything that its stage reads, and reads the
documents themselves from a file whose name stays. Nothing here imports TFX.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.progress import Reporter
from pipelines.stages import fingerprints, preprocess, sequence
from pipelines.stages.context import StageContext
from tfrs_twotower.artifacts import Layout, fingerprint
from tfrs_twotower.artifacts.manifest import Kind
from tfrs_twotower.config import RunConfig
from tfrs_twotower.documents import parse, user_path
from tfrs_twotower.errors import ConfigError, StaleArtifact
from tfrs_twotower.specs import FeatureSpec

DOCUMENTS_NAME = "documents.json"
_GIVEN = "given: "


class RawTable(NamedTuple):
    """A table of the feature spec, as lineage shows it."""

    path: str
    """As the spec names it; absolute, or of a remote file system."""
    content: str
    """Fingerprint of its files, or the version of the data that was given instead."""


def documents_of(context: StageContext) -> str:
    """Run config, feature spec and data root as JSON."""
    return json.dumps(
        {
            "run_config": context.config.model_dump(mode="json"),
            "feature_spec": context.spec.model_dump(mode="json"),
            "data_root": str(context.data_root),
        },
        indent=2,
        sort_keys=True,
    )


def context_of(
    documents: str, where: str, layout: Layout, reporter: Reporter, beam_options: Sequence[str] = ()
) -> StageContext:
    """The run that `documents_of` wrote down.

    Args:
        documents: what it returned.
        where: the file that holds it, for messages.
        layout: where the stage finds its parents and puts its artifact.
        reporter: receives what the stage says.
        beam_options: Beam's pipeline options.

    Raises:
        ConfigError: the text is not such a document.
    """
    try:
        found = json.loads(documents)
        config, spec, root = found["run_config"], found["feature_spec"], found["data_root"]
    except (ValueError, KeyError, TypeError) as cause:
        raise ConfigError(
            f"{where}: is not what `twotower tfx run` or `twotower tfx compile` wrote: found "
            f"{documents[:60]!r}, expected JSON with run_config, feature_spec and data_root. Write "
            "it again with that command."
        ) from cause
    return StageContext(
        layout=layout,
        spec=parse(FeatureSpec, spec, where, ConfigError),
        config=parse(RunConfig, config, where, ConfigError),
        data_root=Path(root),
        reporter=reporter,
        beam_options=tuple(beam_options),
    )


def stages_of(config: RunConfig) -> tuple[sequence.Stage, ...]:
    """The stages of the run, in order, from the table of stages."""
    return sequence.part_of_run(sequence.STAGES, config)


def parents_of(stage: sequence.Stage, config: RunConfig | None = None) -> tuple[Kind, ...]:
    """The artifacts that a component of this stage is given, in the order of the stages.

    These are those that the stage reads, and theirs, because a stage compares the manifests. The
    evaluation also draws the index and judges the bundle.

    Args:
        stage: the stage.
        config: of the run; by default all that the stage may read in any run.
    """
    needed = sequence.stages_for(stage.name)
    kinds = {
        one.kind for one in (needed if config is None else sequence.part_of_run(needed, config))
    }
    if stage.kind == "report":
        kinds |= {"index", "bundle"}
    return tuple(one.kind for one in sequence.STAGES if one.kind in kinds - {stage.kind})


def stage_fingerprint(context: StageContext, stage: sequence.Stage, data_version: str = "") -> str:
    """Identifies everything that a stage reads beside its parents and the feature spec.

    Args:
        context: the run.
        stage: the stage.
        data_version: stands for the content of the tables, where they cannot be read.
    """
    if stage.kind == "preprocessed" and data_version:
        settings = fingerprint(context.config.preprocess)
        return f"{_GIVEN}{data_version} {settings}"
    found: str = stage.load().config_fingerprint(context)
    return found


def check_unchanged(
    context: StageContext, stage: sequence.Stage, where: str, properties: Mapping[str, str]
) -> None:
    """Checks, before a stage runs, that it will read what the pipeline was made for.

    Raises:
        StaleArtifact: the documents or the tables have been changed since.
    """
    said = properties["config_fingerprint"]
    pairs = [("feature spec", properties["spec_fingerprint"], fingerprint(context.spec))]
    if not said.startswith(_GIVEN):
        what = f"config and files of {stage.name}"
        pairs.append((what, said, stage_fingerprint(context, stage)))
    for what, expected, found in pairs:
        if found != expected:
            raise StaleArtifact(
                f"{where}: the {what} have fingerprint {found}, but the pipeline was made for "
                f"{expected}: they were changed since then. Make the pipeline again (`twotower tfx "
                "run` or `twotower tfx compile`), so that the cache sees the change."
            )


def tables_of(context: StageContext, data_version: str = "") -> dict[str, RawTable]:
    """The tables of the run by name: `interactions`, `candidates` and, if any, `queries`.

    Args:
        context: the run.
        data_version: stands for the content of the tables, where they cannot be read.

    Raises:
        DataError: a table cannot be found, or lacks a column.
    """
    spec = context.spec
    described = {"interactions": spec.interactions, "candidates": spec.candidates}
    if spec.queries is not None:
        described["queries"] = spec.queries
    sources = {} if data_version else preprocess.find_sources(context)
    hashed = fingerprints.HashedFiles(context.layout.root)
    found = {}
    for name, table in described.items():
        remote = "://" in table.path
        path = table.path
        if not remote:
            path = os.path.normpath(user_path(path, context.data_root))
        identity = data_version or fingerprint([hashed.identity(f) for f in sources[name].files])
        found[name] = RawTable(path, identity)
    return found
