"""Room `preflight`: checks a spec and a run config against each other, before any job starts."""
