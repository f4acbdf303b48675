from pipelines.transforms.table_files import describe_position, parquet_number, position_of

FILES = ("a.csv", "b.csv")


def test_positions_sort_like_reading_the_files():
    places = [(0, 2), (0, 10), (1, 1)]
    assert sorted(places) == places
    positions = [position_of(*place) for place in places]
    assert sorted(positions) == positions


def test_positions_in_words():
    assert describe_position(position_of(1, 17), FILES, "csv") == "b.csv:17"
    assert describe_position(position_of(0, 3), FILES, "tfrecord") == "a.csv: record 3"
    parquet = position_of(0, parquet_number(2, 5))
    assert describe_position(parquet, FILES, "parquet") == "a.csv: row group 2, row 5"
