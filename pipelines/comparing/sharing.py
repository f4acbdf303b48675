"""What several runs would compute alike is computed once: preprocessing, retrieval, mined lists."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from pipelines.stages import workdir as timings
from pipelines.stages.context import StageContext
from pipelines.stages.order import Stage, would_fit
from tfrs_twotower.artifacts import MANIFEST_NAME, replace_directory, staging_directory


def share_artifacts(
    context: StageContext, stages: Iterable[Stage], others: Iterable[Path]
) -> list[str]:
    """Gives a run the artifacts that another working directory holds and that fit it.

    The files are hard links (copies where the file system has none): stages never write into a
    finished artifact. Whether one fits is asked as `run` asks it: the same spec, settings and
    parents. Equal runs write equal artifacts, so nothing is lost by not computing it twice.

    Args:
        context: the run.
        stages: those of the run, in order.
        others: working directories of runs on the same tables.

    Returns:
        Names of the stages whose artifact was shared.
    """
    directories = list(others)
    root = context.layout.root
    shared = []
    for stage in stages:
        destination = root / stage.kind
        if (destination / MANIFEST_NAME).exists():
            continue
        for other in directories:
            source = other / stage.kind
            if other == root or not (source / MANIFEST_NAME).exists():
                continue
            if not would_fit(context, stage, source):
                continue
            staging = staging_directory(destination)
            shutil.copytree(source, staging, copy_function=_link, dirs_exist_ok=True)
            replace_directory(staging, destination)
            seconds = timings.read(other).get(stage.name)
            if seconds is not None:
                timings.record(root, stage.name, seconds)
            shared.append(stage.name)
            break
        else:
            # What comes after it has other parents, whatever it is.
            break
    return shared


def _link(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)
