"""What happens to the stages of a run, for logs and metrics: an event for each change of state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["started", "skipped", "finished", "failed", "left out"]


@dataclass(frozen=True)
class StageEvent:
    """A change of a stage's state."""

    run: str
    """Name of the run config."""
    stage: str
    state: State
    position: int
    """Place of the stage in the run, counted from 1."""
    of: int
    """Number of stages of the run."""
    seconds: float = 0.0
    """Duration; 0 for a stage that did not run."""
    reason: str = ""
    """Why it runs, why it is left out, or how it failed."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Counts of the artifact's manifest."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """Counters of the Beam job, if the stage has one and the runner keeps them."""
    fingerprint: str = ""
    """Of the artifact."""


Listener = Callable[[StageEvent], None]


def tell(listeners: tuple[Listener, ...], event: StageEvent) -> None:
    """Tells every listener."""
    for listener in listeners:
        listener(event)
