"""Room `closed_form`: scorers that are computed, not trained; baselines, and teachers of towers."""
