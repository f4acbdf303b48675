"""Converters of public data sets to the three tables of a feature spec."""
