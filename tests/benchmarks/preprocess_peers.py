"""Preprocessing against own scripts of the same work in Polars and DuckDB.

    twotower dataset synthetic --interactions 1000000 --candidates 100000 --out build/peers
    python -m tests.benchmarks.preprocess_peers build/peers

Each runs in a process of its own on one thread, all on the same tables in the same run: match
events with candidates, split by the last events of each query, histories, training examples,
frequencies, vocabularies, evaluated queries. Ours is given WordPieces, so that nobody learns them.
Printed are CPU seconds (user and system, imports included), peak memory, and the ratio to Polars;
the numbers of examples and evaluated queries must agree.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import yaml

from tfrs_twotower.documents import user_path

_ROUNDING = 1e-9
_HISTORY = 20
_TEST, _VALIDATION = 0.2, 0.1
_ONE_THREAD = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def run_polars(tables: Path, out: Path) -> dict[str, int]:
    """The work in Polars; histories are slices of the events of a query."""
    import polars as pl

    items = pl.read_parquet(tables / "items-*.parquet")
    users = pl.read_parquet(tables / "users-*.parquet")
    events = (
        pl.read_parquet(tables / "interactions-*.parquet")
        .join(items.select("item_id"), on="item_id", how="semi", maintain_order="left")
        .with_row_index("position")
        .sort("user_id", "timestamp", "position")
    )
    number, place = pl.len().over("user_id"), pl.int_range(pl.len()).over("user_id")
    test = (number * _TEST + _ROUNDING).floor()
    validation = (number * _VALIDATION + _ROUNDING).floor()
    parted, left = number - test - validation >= 1, number - place
    is_test, is_later = parted & (left <= test), parted & (left <= test + validation)
    split = pl.when(is_test).then(2).when(is_later).then(1).otherwise(0)
    events = events.with_columns(split=split)
    events.write_parquet(out / "interactions.parquet")
    train = events.filter(pl.col("split") == 0).with_columns(place=place)
    examples = train.unique(["user_id", "item_id"], keep="first", maintain_order=True)
    past = train.group_by("user_id", maintain_order=True).agg(pl.col("item_id").alias("all"))
    start = (pl.col("place") - _HISTORY).clip(0)
    examples = examples.join(past, on="user_id").with_columns(
        history=pl.col("all").list.slice(start, pl.col("place") - start).list.reverse()
    )
    examples = examples.drop("all").join(users, on="user_id", how="left").sort("timestamp")
    examples.write_parquet(out / "train.parquet", compression="zstd")
    counts = train.group_by("item_id").len("count")
    items.join(counts, on="item_id", how="left").write_parquet(out / "corpus.parquet")
    for name, counted in (
        ("item_id", counts.rename({"item_id": "value"})),
        (
            "category",
            _added(pl, counts.join(items, on="item_id"), "category", pl.col("count").sum()),
        ),
        ("region", _added(pl, train.join(users, on="user_id"), "region", pl.len().alias("count"))),
    ):
        counted.sort(["count", "value"], descending=[True, False]).write_csv(out / f"{name}.csv")
    found = {"train_examples": examples.height}
    for code, name in ((1, "validation"), (2, "test")):
        past = events.filter(pl.col("split") < code)
        own = events.filter(pl.col("split") == code)
        relevant = (
            own.join(past, on=["user_id", "item_id"], how="anti")
            .group_by("user_id")
            .agg(pl.col("item_id").unique().sort().alias("relevant"))
        )
        seen = past.group_by("user_id", maintain_order=True).agg(
            pl.col("item_id").tail(_HISTORY).reverse().alias("history"),
            pl.col("item_id").unique().sort().alias("seen"),
        )
        evaluated = relevant.join(seen, on="user_id").join(users, on="user_id", how="left")
        evaluated.sort("user_id").write_parquet(out / f"{name}.parquet")
        found[f"{name}_queries"] = evaluated.height
    return found


def _added(pl, table, column, count):
    return table.group_by(pl.col(column).alias("value")).agg(count)


def run_duckdb(tables: Path, out: Path) -> dict[str, int]:
    """The work in DuckDB, which may spill to disk."""
    import duckdb

    db = duckdb.connect(str(out / "work.db"))
    db.execute(f"set threads = 1; set memory_limit = '6GB'; set temp_directory = '{out}/spill'")
    for name in ("items", "users"):
        db.execute(f"create table {name} as from read_parquet('{tables}/{name}-*.parquet')")
    db.execute(f"""
        create table events as
        with matched as (
            select user_id, item_id, "timestamp" as moment, row_number() over () as source_row
            from read_parquet('{tables}/interactions-*.parquet') semi join items using (item_id)
        ), placed as (
            select *, count(*) over (partition by user_id) as n,
                row_number() over (partition by user_id order by moment, source_row) as place
            from matched
        ), sized as (
            select *, floor(n * {_TEST} + {_ROUNDING}) as test,
                floor(n * {_VALIDATION} + {_ROUNDING}) as validation from placed
        )
        select user_id, item_id, moment, place, case
            when n - test - validation < 1 then 0 when n - place < test then 2
            when n - place < test + validation then 1 else 0 end as split from sized""")
    _copy(db, "select * from events order by user_id, place", out / "interactions.parquet")
    _copy(
        db,
        f"""select e.*, u.region from (
            select user_id, item_id, moment,
                row_number() over (partition by user_id, item_id order by place) as repeat,
                list(item_id) over (partition by user_id order by place
                    rows between {_HISTORY} preceding and 1 preceding) as history
            from events where split = 0) e left join users u using (user_id)
        where repeat = 1 order by moment""",
        out / "train.parquet",
    )
    db.execute("create table counts as select item_id, count(*) as n from events where split = 0 "
               "group by item_id")  # fmt: skip
    _copy(db, "select * from items left join counts using (item_id)", out / "corpus.parquet")
    in_train = "from events join users using (user_id) where split = 0"
    for name, query in (
        ("item_id", "select item_id as value, n from counts"),
        ("category", "select category as value, sum(n) as n from counts join items "
                     "using (item_id) group by category"),
        ("region", f"select region as value, count(*) as n {in_train} group by region"),
    ):  # fmt: skip
        db.execute(f"copy ({query} order by n desc, value) to '{out}/{name}.csv'")
    found = {"train_examples": _rows(db, out / "train.parquet")}
    for code, name in ((1, "validation"), (2, "test")):
        _copy(
            db,
            f"""with past as (select * from events where split < {code}),
            relevant as (
                select user_id, list(distinct item_id) as relevant from events own
                where split = {code} and not exists (select 1 from past
                    where past.user_id = own.user_id and past.item_id = own.item_id)
                group by user_id)
            select r.*, s.history, s.seen, u.region from relevant r
            join (select user_id, list(item_id order by place desc)[:{_HISTORY}] as history,
                list(distinct item_id) as seen from past group by user_id) s using (user_id)
            left join users u using (user_id) order by user_id""",
            out / f"{name}.parquet",
        )
        found[f"{name}_queries"] = _rows(db, out / f"{name}.parquet")
    return found


def _copy(db, query, path):
    db.execute(f"copy ({query}) to '{path}' (format parquet, compression zstd)")


def _rows(db, path):
    return db.execute(f"select count(*) from read_parquet('{path}')").fetchone()[0]


def run_ours(tables: Path, out: Path) -> dict[str, int]:
    """The stage, with a list of WordPieces."""
    from pipelines.__main__ import main

    root = user_path(".", Path(__file__).parents[2])
    spec = yaml.safe_load((root / "feature_specs" / "synthetic.yaml").read_text())
    (out / "pieces.txt").write_text("[PAD]\n[UNK]\na\n")
    for feature in spec["candidate"]["features"]:
        if feature["kind"] == "text":
            feature["vocabulary_file"] = str(out / "pieces.txt")
    (out / "spec.yaml").write_text(yaml.safe_dump(spec))
    config = yaml.safe_load((root / "pipelines" / "configs" / "synthetic.yaml").read_text())
    config |= {"spec": str(out / "spec.yaml"), "data_root": str(tables.parent)}
    (out / "run.yaml").write_text(yaml.safe_dump(config))
    sys.argv = ["twotower", "preprocess", str(out / "run.yaml"), "--workdir", str(out / "work")]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    manifest = json.loads((out / "work" / "preprocessed" / "manifest.json").read_text())
    names = ("train_examples", "validation_queries", "test_queries")
    return {name: manifest["counts"][name] for name in names}


RUNS = {"polars": run_polars, "duckdb": run_duckdb, "twotower": run_ours}


def measure(name: str, tables: Path) -> tuple[float, float, dict[str, int]]:
    """CPU seconds, peak gigabytes and counts of one run in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        environment = os.environ | dict.fromkeys(_ONE_THREAD, "1") | {"POLARS_MAX_THREADS": "1"}
        command = [sys.executable, "-m", __spec__.name, str(tables.parent)]
        command += ["--only", name, "--out", directory]
        child = os.posix_spawn(sys.executable, command, environment)
        _, status, usage = os.wait4(child, 0)
        if status:
            raise SystemExit(f"{name} ended with status {status}")
        counts = json.loads((Path(directory) / "counts.json").read_text())
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6, counts


def main() -> None:
    """Measures all, or does one in this process."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path, help="data root with the directory synthetic")
    parser.add_argument("--only", choices=RUNS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    tables = options.data.resolve() / "synthetic"
    if options.only:
        counts = RUNS[options.only](tables, options.out)
        (options.out / "counts.json").write_text(json.dumps(counts))
        return
    found = {name: measure(name, tables) for name in RUNS}
    for name, (seconds, gigabytes, counts) in found.items():
        ratio = seconds / found["polars"][0]
        line = f"{name:9} {seconds:7.1f} CPU s, {ratio:4.1f} x, {gigabytes:5.2f} GB, {counts}"
        sys.stdout.write(f"{line}\n")
    if len({json.dumps(counts) for *_, counts in found.values()}) > 1:
        raise SystemExit("the numbers of examples differ, so the work is not the same")


if __name__ == "__main__":
    main()
