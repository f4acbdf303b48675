"""The report of one evaluation: its files, leaderboard, pictures and page."""

from tfrs_twotower.environment import require_extra

require_extra("report", "jinja2", "matplotlib", needed_by="the report page")
