"""Documents as an earlier version wrote them, and small ones made from them.

golden/evaluation.json is of `make_world(texts=True, kind="temporal")` with planted leaks, a second
stage and all baselines; golden/comparison.json is of two planted runs. Both were written before
the documents had classes, so they say what the keys of the files are.
"""

import json
from pathlib import Path

from tfrs_twotower.evaluation.evaluation_document import EvaluationDocument

GOLDEN = Path(__file__).parent / "golden"


def golden_text(name):
    return (GOLDEN / f"{name}.json").read_text(encoding="utf-8")


def evaluation_document(**changes):
    """The golden evaluation with other parts; a mapping changes only the keys that it has."""
    document = json.loads(golden_text("evaluation"))
    for key, part in changes.items():
        merge = key in ("protocol", "leakage_check", "funnel")
        document[key] = document[key] | part if merge else part
    return EvaluationDocument.model_validate(document)


def system_figures(means, slices=None):
    """Figures of a system: a mean, or a whole figure, by metric."""
    return {
        "metrics": {metric: figure(mean) for metric, mean in means.items()},
        "slices": {
            name: {"title": name, "queries": 9, "relevant": 9, "metrics": figures}
            for name, figures in (slices or {}).items()
        },
    }


def figure(mean, ci95=(0.0, 1.0), queries=80):
    return {"mean": mean, "ci95": list(ci95), "queries": queries}
