"""Checks a feature spec and a run config against each other, before any job starts.

Each document is already valid by itself. Every check runs, and one error reports all mistakes.
"""

from collections.abc import Callable, Iterator

from tfrs_twotower.config import RunConfig
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.preflight.data_needs import check_data_needs
from tfrs_twotower.preflight.list_lengths import check_list_lengths, check_pre_ranking
from tfrs_twotower.preflight.model_section import check_terms, check_towers
from tfrs_twotower.specs import FeatureSpec

Check = Callable[[FeatureSpec, RunConfig], Iterator[str]]
CHECKS: tuple[Check, ...] = (
    check_towers,
    check_terms,
    check_data_needs,
    check_list_lengths,
    check_pre_ranking,
)


def check_run(spec: FeatureSpec, config: RunConfig) -> None:
    """Checks that the run config fits the spec, and its sections each other.

    Raises:
        ConfigError: one line for each mistake: where, what was found, what is allowed, what to
            do.
    """
    mistakes = [mistake for check in CHECKS for mistake in check(spec, config)]
    if mistakes:
        raise ConfigError("\n".join(f"run '{config.name}': {mistake}" for mistake in mistakes))
