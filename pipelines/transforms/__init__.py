"""Beam transforms: from tables to examples, and from examples to embeddings."""

import logging

from tfrs_twotower.environment import require_extra

require_extra("pipelines", "apache_beam", "google_crc32c", needed_by="a Beam stage")
# Beam's import of its optional BigQuery client logs a warning where that client is absent.
_before = logging.root.manager.disable
logging.disable(logging.WARNING)
import apache_beam as _beam  # noqa: E402, F401

logging.disable(_before)
