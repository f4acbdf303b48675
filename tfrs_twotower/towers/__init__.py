"""Query and candidate towers: what they are, how they are built, saved and loaded."""
