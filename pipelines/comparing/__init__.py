"""Several runs with several seeds, each in a process of its own, and their comparison."""
