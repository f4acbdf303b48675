"""Calendar parts (UTC) of a time in seconds, computed with integer arithmetic in the graph."""

import tensorflow as tf

_DAY_S = 86_400
NUM_VALUES = {"hour_of_day": 24, "day_of_week": 7, "day_of_month": 31, "month_of_year": 12}


def calendar_part(seconds: tf.Tensor, part: str) -> tf.Tensor:
    """A part of each time, counted from 1; 0 for a negative time (missing).

    Args:
        seconds: `[batch]` int64, since 1970.
        part: a key of `NUM_VALUES`; Monday is day_of_week 1.

    Returns:
        `[batch]` int32.
    """
    days = tf.maximum(seconds, 0) // _DAY_S
    match part:
        case "hour_of_day":
            value = tf.maximum(seconds, 0) % _DAY_S // 3600
        case "day_of_week":
            value = (days + 3) % 7  # 1970-01-01 was a Thursday
        case "day_of_month":
            value = _civil(days)[1] - 1
        case "month_of_year":
            value = _civil(days)[0] - 1
        case _:
            raise ValueError(f"unknown calendar part {part!r}; known: {', '.join(NUM_VALUES)}")
    return tf.where(seconds < 0, 0, tf.cast(value, tf.int32) + 1)


def _civil(days: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Month and day of month (from 1) of days since 1970-01-01.

    The calendar is shifted to years that begin in March, so that the leap day is a year's last
    day; 719,468 days lie between 0000-03-01 and 1970-01-01 (Hinnant, "chrono-compatible low-level
    date algorithms").
    """
    shifted = days + 719_468
    day_of_era = shifted % 146_097
    year_of_era = (
        day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * march_month + 2) // 5 + 1
    month = tf.where(march_month < 10, march_month + 3, march_month - 9)
    return month, day
