"""The report of one evaluation: its files, leaderboard, pictures and page."""
