"""What ML Metadata knows: where a pushed bundle comes from, and what the latest run did."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_metadata import MetadataStore, proto

from pipelines.tfx_dag.pipeline import METADATA_NAME
from tfrs_twotower.errors import DataError, MissingArtifact

_OUTPUTS = (proto.Event.OUTPUT, proto.Event.DECLARED_OUTPUT)
_INPUTS = (proto.Event.INPUT, proto.Event.DECLARED_INPUT)
_SHOWN = ("table", "content", "manifest_fingerprint", "blessed", "pushed_destination")


@dataclass(frozen=True)
class Origin:
    """An artifact and what it was made from."""

    number: int
    """Id in ML Metadata."""
    kind: str
    """Type, such as `pipelines.Preprocessed`."""
    uri: str
    properties: dict[str, Any]
    """Fingerprints and decisions, by name."""
    made_by: str
    """Component, such as `Train`; "" if ML Metadata has none."""
    made_from: tuple[int, ...]
    """Ids of the component's inputs."""

    def line(self) -> str:
        """The artifact in a line."""
        shown = "".join(f", {name} {value}" for name, value in self.properties.items())
        inputs = ", ".join(map(str, self.made_from))
        source = f"; {self.made_by} made it" + (f" from {inputs}" if inputs else "")
        return f"{self.number}  {self.kind}  {self.uri}{shown}{source if self.made_by else ''}"


@dataclass(frozen=True)
class Outcome:
    """The latest run of a pipeline."""

    states: dict[str, str]
    """`COMPLETE`, `CACHED` or another state by component, in the order in which they ran."""
    blessed: bool
    """Whether its version may be served."""
    reasons: str
    """Why not."""
    pushed: str
    """Directory of the pushed version; "" if nothing was pushed."""


def open_store(root: Path) -> MetadataStore:
    """The ML Metadata of a pipeline's directory.

    Raises:
        MissingArtifact: there is none.
    """
    path = root / METADATA_NAME
    if not path.is_file():
        raise MissingArtifact(
            f"{path}: there is no ML Metadata. Name the --root of a `twotower tfx run`."
        )
    config = proto.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    config.sqlite.connection_mode = proto.SqliteMetadataSourceConfig.READWRITE
    return MetadataStore(config)


def find_pushed(store: MetadataStore, version: str = "") -> int:
    """The id of a pushed model.

    Args:
        store: of the pipeline.
        version: directory of the pushed version, or of the artifact in the pipeline; by default the
            one that was pushed last.

    Raises:
        DataError: there is none.
    """
    found = {}
    for artifact in _artifacts_of_type(store, "PushedModel"):
        properties = _properties(artifact)
        if properties.get("pushed"):
            found[artifact.id] = (properties.get("pushed_destination", ""), artifact.uri)
    places = [place for place, _ in found.values()]
    if version:
        wanted = version.rstrip("/")
        found = {number: names for number, names in found.items() if wanted in names}
    if not found:
        raise DataError(
            f"{version or 'the pipeline'}: was not pushed by this pipeline; pushed versions are "
            f"{', '.join(places) or 'none'}. Name one of them."
        )
    return max(found)


def lineage(store: MetadataStore, number: int) -> list[Origin]:
    """An artifact and everything that it was made from, nearest first, to the raw tables."""
    types = {kind.id: kind.name for kind in store.get_artifact_types()}
    found: dict[int, Origin] = {}
    waiting = [number]
    while waiting:
        new = [one for one in dict.fromkeys(waiting) if one not in found]
        waiting = []
        for artifact in store.get_artifacts_by_id(new):
            component, inputs = _made(store, artifact.id)
            properties = _properties(artifact)
            shown = {name: properties[name] for name in _SHOWN if name in properties}
            kind = types[artifact.type_id]
            found[artifact.id] = Origin(
                artifact.id, kind, artifact.uri, shown, component, tuple(inputs)
            )
            waiting += inputs
    return list(found.values())


def _made(store: MetadataStore, artifact: int) -> tuple[str, list[int]]:
    """The component that made an artifact, and the ids of its inputs."""
    events = store.get_events_by_artifact_ids([artifact])
    numbers = [event.execution_id for event in events if event.type in _OUTPUTS]
    made = [
        execution
        for execution in store.get_executions_by_id(numbers)
        if execution.last_known_state == proto.Execution.COMPLETE
    ]
    if not made:
        return "", []
    first = min(made, key=lambda execution: execution.id)
    events = store.get_events_by_execution_ids([first.id])
    inputs = [event.artifact_id for event in events if event.type in _INPUTS]
    return _node_of(store, first.id), sorted(set(inputs))


def latest_outcome(store: MetadataStore) -> Outcome:
    """What the latest run of the pipeline did.

    Raises:
        DataError: no run has been finished.
    """
    runs = store.get_contexts_by_type("pipeline_run")
    if not runs:
        raise DataError("the pipeline has not run yet. Run it with `twotower tfx run`.")
    latest = max(runs, key=lambda context: context.id)
    executions = sorted(store.get_executions_by_context(latest.id), key=lambda one: one.id)
    states = {
        _node_of(store, one.id): proto.Execution.State.Name(one.last_known_state)
        for one in executions
    }
    events = store.get_events_by_execution_ids([one.id for one in executions])
    written = sorted({event.artifact_id for event in events if event.type in _OUTPUTS})
    properties: dict[str, Any] = {}
    for artifact in store.get_artifacts_by_id(written):
        properties |= _properties(artifact)
    return Outcome(
        states,
        bool(properties.get("blessed")),
        properties.get("reasons", ""),
        properties.get("pushed_destination", "") if properties.get("pushed") else "",
    )


def _node_of(store: MetadataStore, execution: int) -> str:
    contexts = store.get_contexts_by_execution(execution)
    kinds = {kind.id: kind.name for kind in store.get_context_types()}
    names = [one.name for one in contexts if kinds[one.type_id] == "node"]
    return names[0].partition(".")[2] if names else ""


def _artifacts_of_type(store: MetadataStore, name: str) -> Iterable[Any]:
    known = {kind.name for kind in store.get_artifact_types()}
    return store.get_artifacts_by_type(name) if name in known else ()


def _properties(artifact: Any) -> dict[str, Any]:
    """Declared and custom properties; strings and whole numbers."""

    def values() -> Iterator[tuple[str, Any]]:
        for properties in (artifact.properties, artifact.custom_properties):
            for name, value in properties.items():
                yield name, getattr(value, value.WhichOneof("value"))

    return dict(values())
