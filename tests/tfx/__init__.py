"""Tests of the TFX pipeline, in the environment that has TFX: `make test-tfx`."""
