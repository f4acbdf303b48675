import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.daily_run import DAY_S, add_a_day

LAST_S = 20_000 * DAY_S + 5  # 2024-10-04, a few seconds after midnight


def test_a_day_is_the_next_one_and_holds_one_per_cent(tmp_path):
    for number in range(2):
        table = {
            "user_id": [f"u{number}"] * 150,
            "item_id": [f"i{item % 7}" for item in range(150)],
            "timestamp": np.arange(LAST_S - 149, LAST_S + 1),
        }
        pq.write_table(pa.table(table), tmp_path / f"interactions-0000{number}-of-00002.parquet")
    assert add_a_day(tmp_path) == "2024-10-05"
    added = pq.read_table(tmp_path / "interactions-new.parquet")
    assert added.num_rows == 3
    times = added["timestamp"].to_numpy()
    assert (times // DAY_S == LAST_S // DAY_S + 1).all()
    assert (np.diff(times) >= 0).all()
    assert set(added["user_id"].to_pylist()) <= {"u0", "u1"}
    assert added.schema == pq.read_schema(tmp_path / "interactions-00000-of-00002.parquet")
