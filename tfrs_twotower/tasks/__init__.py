"""Room `tasks`: objectives. Losses per query become one number here, always by a mean."""
