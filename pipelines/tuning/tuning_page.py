"""The page of a search: what was found, what was changed, every trial. One self-contained file."""

from pathlib import Path
from types import SimpleNamespace

from pipelines.tuning.tuning_document import TuningDocument, best_first, chance
from tfrs_twotower.config import as_override
from tfrs_twotower.evaluation.report.rendering import Origin, render, signed
from tfrs_twotower.evaluation.written_documents import Environment

_TEMPLATE = Path(__file__).with_name("tuning.html")


def render_tuning(document: TuningDocument, origin: Origin) -> str:
    """The page of a finished search as HTML text.

    Args:
        document: with an outcome.
        origin: command, documents and date.
    """
    ranked = best_first(document.trials)
    others = [one for one in document.trials if one not in ranked]
    return render(
        _TEMPLATE,
        search=document,
        outcome=document.outcome,
        ranked=ranked,
        others=others,
        origin=origin,
        document=SimpleNamespace(environment=Environment.of_this_process()),
        chance=chance,
        gain=lambda value: f"{signed(100 * value, 1)} %",
        value=lambda key, value: as_override(key, value).partition("=")[2],
    )
