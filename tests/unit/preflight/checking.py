"""Checks a changed toy spec with a run config of some sections."""

import pytest

from tests.unit.specs.documents import spec_data
from tfrs_twotower.config import RunConfig
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.preflight.run import check_run
from tfrs_twotower.specs import FeatureSpec


def check(spec_changes, **sections):
    spec = FeatureSpec.model_validate(spec_data(**spec_changes))
    check_run(spec, RunConfig.model_validate({"name": "toy", "spec": "toy.yaml", **sections}))


def mistake(spec_changes, **sections):
    """Returns the message of the only mistake."""
    with pytest.raises(ConfigError, match="run 'toy': ") as caught:
        check(spec_changes, **sections)
    (line,) = str(caught.value).splitlines()
    return line
