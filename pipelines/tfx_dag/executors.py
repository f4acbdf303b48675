"""What the components do: a stage with a place for each artifact, and a blessing of its bundle."""

import itertools
import json
import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_beam_executor, base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from pipelines.stages import later_needs, sequence
from pipelines.stages.context import StageContext, open_workdir
from pipelines.tfx_dag import blessing, prepared_run, request_examples
from serving.bundle import integrity, versions
from tfrs_twotower.artifacts import MANIFEST_NAME, Layout, read_manifest, replace_directory
from tfrs_twotower.artifacts.manifest import WRITTEN_BY

_Artifacts = Mapping[str, list[Any]]
_LOG = logging.getLogger(__name__)
_JUDGEMENT = "judgement.json"
_GATED_FILES = (MANIFEST_NAME, integrity.CHECKSUMS_NAME)


class LoggedMessages:
    """Writes what a stage says to the log; an orchestrator has no place for progress bars."""

    def message(self, text: str) -> None:
        """Writes the line."""
        _LOG.info("%s", text)

    def progress(
        self, description: str, done: float, total: float | None, detail: str = ""
    ) -> None:
        """Drops the figures."""


class StageExecutor(base_executor.BaseExecutor):
    """Runs the stage that the execution property `stage` names."""

    def Do(self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: Any) -> None:
        """Runs the stage; see `_run_stage`."""
        with _run_stage(input_dict, output_dict, exec_properties):
            pass


class BeamStageExecutor(base_beam_executor.BaseBeamExecutor):
    """The same with the pipeline's Beam arguments."""

    def Do(self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: Any) -> None:
        """Runs the stage; see `_run_stage`."""
        options = _options(self._beam_pipeline_args)
        with _run_stage(input_dict, output_dict, exec_properties, options):
            pass


class EvaluateExecutor(base_executor.BaseExecutor):
    """Evaluates, and judges whether the bundle may be pushed."""

    def Do(self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: Any) -> None:
        """Runs the stage, and writes the blessing in the stock Evaluator's form.

        Where the split has no test query there is no report, and the release gate judges alone.
        """
        model = artifact_utils.get_single_instance(input_dict["bundle"])
        blessed = artifact_utils.get_single_instance(output_dict["blessing"])
        with (
            _run_stage(input_dict, output_dict, exec_properties) as (context, report),
            tempfile.TemporaryDirectory() as scratch,
        ):
            judgement = blessing.judge(
                context,
                Path(path_utils.serving_model_path(str(context.layout.bundle))),
                _pushed(exec_properties["push_destination"], Path(scratch)),
                report,
                json.loads(exec_properties["floors"]),
            )
        for reason in judgement.reasons:
            _LOG.warning("the version will not be pushed: %s", reason)
        name = constants.BLESSED_FILE_NAME
        if not judgement.is_blessed:
            name = constants.NOT_BLESSED_FILE_NAME
        io_utils.write_string_file(f"{blessed.uri}/{name}", "")
        io_utils.write_string_file(f"{blessed.uri}/{_JUDGEMENT}", judgement.as_json())
        for key, number in (
            (constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(judgement.is_blessed)),
            (constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id),
        ):
            blessed.set_int_custom_property(key, number)
        blessed.set_string_custom_property(
            constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri
        )
        blessed.set_string_custom_property("reasons", "; ".join(judgement.reasons))


class RequestExamplesExecutor(base_beam_executor.BaseBeamExecutor):
    """Writes every known query as an Example of the signature `serving_examples`."""

    def Do(self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: Any) -> None:
        """Writes the Examples into one split, in the form of an ExampleGen."""
        output = artifact_utils.get_single_instance(output_dict["examples"])
        output.split_names = artifact_utils.encode_split_names([request_examples.SPLIT])
        uri = artifact_utils.get_single_uri(input_dict["preprocessed"])
        where = exec_properties["documents"]
        with tempfile.TemporaryDirectory() as scratch:
            context = prepared_run.context_of(
                io_utils.read_string_file(where),
                where,
                Layout(Path(scratch), {"preprocessed": _local(uri, Path(scratch) / "p")}),
                LoggedMessages(),
                _options(self._beam_pipeline_args),
            )
            request_examples.write(context, f"{output.uri}/Split-{request_examples.SPLIT}")


@contextmanager
def _run_stage(
    input_dict: _Artifacts,
    output_dict: _Artifacts,
    properties: Mapping[str, Any],
    beam_options: Sequence[str] = (),
) -> Iterator[tuple[StageContext, Path | None]]:
    """Runs a stage and puts its artifact where TFX wants it.

    A local artifact is made beside its place, under a name that stays: a training that was killed
    continues there. Artifacts elsewhere are copied from and to a directory of this machine.

    Yields:
        The run, and the directory of the artifact; None where the run has no report.

    Raises:
        StaleArtifact: documents or tables were changed since the pipeline was made.
        TwoTowerError: the stage failed.
    """
    stage = sequence.STAGES[sequence.STAGE_NAMES.index(properties["stage"])]
    output = artifact_utils.get_single_instance(output_dict[stage.kind])
    where = properties["documents"]
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) if _is_remote(output.uri) else Path(output.uri).parent
        places = {
            kind: _local(artifact_utils.get_single_uri(found), Path(scratch) / "parents" / kind)
            for kind, found in input_dict.items()
            if kind in WRITTEN_BY
        }
        context = prepared_run.context_of(
            io_utils.read_string_file(where),
            where,
            Layout(open_workdir(root), places),
            LoggedMessages(),
            beam_options,
        )
        prepared_run.check_unchanged(context, stage, where, properties)
        if stage.kind == "bundle":  # so that the version has none before it
            shutil.rmtree(context.layout.bundle, ignore_errors=True)
        made: Path | None = None
        if stage.kind != "report" or not _no_report(context):
            [outcome] = sequence.run_stages(context, [stage], force=True)
            made = outcome.directory
            output.set_string_custom_property("manifest_fingerprint", outcome.fingerprint)
        yield context, made
        if made is not None:
            _deliver(made, output.uri)


def _options(arguments: Iterable[str]) -> tuple[str, ...]:
    """Beam's options; Kubeflow's entry point passes its program's name on, before the first."""
    return tuple(itertools.dropwhile(lambda argument: not argument.startswith("-"), arguments))


def _no_report(context: StageContext) -> str:
    return later_needs.without_report(
        read_manifest(context.layout.preprocessed, "preprocessed").counts
    )


def _deliver(made: Path, uri: str) -> None:
    """Moves an artifact to its place. Of a bundle that is the one version that was exported."""
    place = uri
    if made.name == "bundle":
        made, place = only_version(made), path_utils.serving_model_dir(uri)
    if _is_remote(uri):
        io_utils.copy_dir(str(made), place)
    else:
        replace_directory(made, Path(place))


def only_version(bundles: Path) -> Path:
    """The one version of the one bundle in a run's `bundle/`."""
    [version_dir] = (
        bundle / str(number)
        for bundle in sorted(bundles.iterdir())
        if bundle.is_dir()
        for number in versions.list_versions(bundle)
    )
    return version_dir


def _is_remote(uri: str) -> bool:
    return "://" in uri


def _local(uri: str, copy: Path) -> Path:
    """The directory itself, or a copy of what is not on this machine."""
    if not _is_remote(uri):
        return Path(uri)
    copy.parent.mkdir(parents=True, exist_ok=True)
    io_utils.copy_dir(uri, str(copy))
    return copy


def _pushed(destination: str, copies: Path) -> Path:
    """What was pushed before; of what is not on this machine, the newest version and manifests."""
    if not _is_remote(destination):
        return Path(destination)
    found = fileio.listdir(destination) if fileio.exists(destination) else []
    numbers = sorted(int(name.rstrip("/")) for name in found if name.rstrip("/").isdigit())
    for number in numbers:
        place, copy = f"{destination}/{number}", copies / str(number)
        if number == numbers[-1]:
            io_utils.copy_dir(place, str(copy))
            continue
        for name in _GATED_FILES:
            if fileio.exists(f"{place}/{name}"):
                io_utils.copy_file(f"{place}/{name}", str(copy / name), overwrite=True)
    return copies
