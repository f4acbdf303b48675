"""Planted tables: what is planted, and the same bytes however the work is divided."""

from collections import Counter

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.transforms import synthetic_tables
from pipelines.transforms.synthetic_tables import World, WriteWorld, _shuffled, _zipf

WORLD = World(interactions=6_000, candidates=2_000, queries=300, seed=3)


def events(world=WORLD):
    for query in range(world.queries):
        ranks, times = world.events_of(query)
        yield query, ranks, times


def test_the_numbers_are_exactly_those_asked_for():
    tables = Counter()
    for part in WORLD.tables():
        tables[part.table] += WORLD.table(part).num_rows
    assert tables == {"interactions": 6_000, "users": 300, "items": 2_000}
    assert all(len(ranks) for _, ranks, _ in events())


@pytest.mark.parametrize("size", [1, 2, 7, 360, 1_000])
@pytest.mark.parametrize("seed", [0, 5])
def test_ids_are_distinct(size, seed):
    assert sorted(_shuffled(number, size, seed) for number in range(size)) == list(range(size))


def test_every_interaction_names_a_user_and_an_item():
    columns = {part.table: WORLD.table(part) for part in WORLD.tables()}
    users = set(columns["users"]["user_id"].to_pylist())
    items = set(columns["items"]["item_id"].to_pylist())
    assert set(columns["interactions"]["user_id"].to_pylist()) <= users
    assert set(columns["interactions"]["item_id"].to_pylist()) <= items
    assert len(set(columns["items"]["title"].to_pylist())) == 2_000


def test_times_ascend_within_a_year_and_no_choice_is_repeated():
    for _, ranks, times in events():
        assert np.all(np.diff(times) >= 0)
        assert times.min() >= 1_704_067_200
        assert times.max() < 1_704_067_200 + 366 * 86_400
        assert len(set(ranks.tolist())) == len(ranks)


def test_popularity_falls_as_zipf_says():
    """Of 1,000 ranks the first k hold (k + 1)^.1 - 1 of 1001^.1 - 1."""
    share = (np.arange(20_000) + 0.5) / 20_000
    ranks = _zipf(share, np.full(20_000, 1_000))
    assert ranks.min() == 0
    assert ranks.max() == 999
    for k in (1, 10, 100):
        expected = ((k + 1) ** 0.1 - 1) / (1_001**0.1 - 1)
        assert (ranks < k).mean() == pytest.approx(expected, abs=0.001)


def test_a_query_stays_in_one_cluster_and_changes_it_once():
    """Four choices in five are of its cluster, so the commonest two clusters hold nearly all."""
    own, changes = [], []
    for _, ranks, _ in events():
        clusters = ranks % WORLD.clusters
        common = [cluster for cluster, _ in Counter(clusters.tolist()).most_common(2)]
        own.append(np.isin(clusters, common).mean())
        halves = np.array_split(clusters, 2)
        changes.append(
            Counter(halves[0]).most_common(1)[0][0] != Counter(halves[1]).most_common(1)[0][0]
        )
    assert 0.75 < np.mean(own) < 0.97
    assert np.mean(changes) > 0.3


def written(tmp_path, name, **options):
    directory = tmp_path / name
    directory.mkdir()
    with beam.Pipeline(options=beam.pipeline.PipelineOptions(**options)) as pipeline:
        _ = pipeline | WriteWorld(WORLD, str(directory))
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_same_seed_gives_the_same_bytes_on_any_bundling(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic_tables, "_ROWS_PER_FILE", 500)
    once = written(tmp_path, "once")
    many = written(tmp_path, "many", direct_running_mode="multi_threading", direct_num_workers=3)
    assert len(once) == len(WORLD.tables()) > 10
    assert once == many
    other = World(6_000, 2_000, 300, seed=4)
    part = next(part for part in WORLD.tables() if part.table == "interactions")
    assert not other.table(part).equals(WORLD.table(part))
    assert pq.read_table(tmp_path / "once" / part.name).equals(WORLD.table(part))
