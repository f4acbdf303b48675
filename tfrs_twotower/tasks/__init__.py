"""Room `tasks`: objectives. Losses per query become one number here, always a mean."""
