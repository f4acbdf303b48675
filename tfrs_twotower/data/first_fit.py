"""What the first fit is worth: recall on validation queries that nothing in it has learned.

`model/` holds that of retrieval where a refit follows, `pre_ranker/` that of the cascade, whose
weights are fitted out of fold. An export prints and gates it, because the served model has learned
the validation queries: its towers in the refit, its weights in any case.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tfrs_twotower.artifacts.layout import FIRST_FIT_RECALL
from tfrs_twotower.errors import CorruptArtifact

LONGEST = 1000
"""Length up to which retrieval is measured; a cascade is measured up to the size of its pools."""


@dataclass(frozen=True)
class FirstFitRecall:
    """Mean recall on the validation queries, for every length of the lists."""

    num_queries: int
    """Validation queries that were measured."""
    recall: tuple[float, ...]
    """recall@1, recall@2 and so on."""

    def at(self, k: int) -> tuple[int, float]:
        """Recall at k, or at the longest measured length: that length, and the recall."""
        length = min(k, len(self.recall))
        return length, self.recall[length - 1]

    def write(self, directory: Path) -> None:
        """Writes `first_fit_recall.json`."""
        text = json.dumps(asdict(self)) + "\n"
        (directory / FIRST_FIT_RECALL).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> "FirstFitRecall | None":
        """Reads that of an artifact; None if it has none.

        Raises:
            CorruptArtifact: it is something else.
        """
        path = directory / FIRST_FIT_RECALL
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(int(values["num_queries"]), tuple(map(float, values["recall"])))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as cause:
            raise CorruptArtifact(f"{path}: cannot be read: {cause}. Train again.") from cause
