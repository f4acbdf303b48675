"""Room `closed_form`: scorers that are computed, not trained: baselines, teachers, members."""
