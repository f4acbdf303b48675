"""Several runs over several seeds side by side: statistics, document, tables and page."""

from tfrs_twotower.environment import require_extra

require_extra("report", "jinja2", "matplotlib", needed_by="the comparison page")
