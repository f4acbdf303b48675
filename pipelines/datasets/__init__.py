"""Converters of public data sets to the three tables of a feature spec."""

from tfrs_twotower.environment import require_extra

require_extra("pipelines", "pandas", needed_by="a public data set")
