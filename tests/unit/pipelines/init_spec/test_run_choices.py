"""What `init` writes into the run config for each kind of tables, and whether its reasons hold."""

from dataclasses import replace

import pytest

from pipelines.init_spec import run_choices
from pipelines.init_spec.first_spec import write_first_spec
from pipelines.init_spec.seen import Seen
from tests.unit.pipelines.init_spec.tables import write_csv
from tfrs_twotower.config import RunConfig, load_run_config
from tfrs_twotower.specs import load_spec

DAY = 86_400
FILMS = Seen(
    num_candidates=3000,
    num_examples=60_000,
    num_queries=5000,
    num_validation=900,
    examples_per_candidate=20.0,
    events_per_query=30.0,
    unknown_candidates=0.0,
    has_history=True,
    has_long_histories=False,
    has_low_labels=False,
    has_time=True,
    span_days=300.0,
    drift=1.0,
    recency=1.2,
    has_content=True,
    has_categories=True,
    has_texts=False,
    text_width=0,
)
PASSAGES = replace(
    FILMS, has_history=False, has_texts=True, text_width=256, examples_per_candidate=1.1,
    has_time=False, span_days=0.0, drift=None, recency=None, unknown_candidates=1.0,
    num_examples=6000,
)  # fmt: skip


def config_of(seen):
    """The choices as a run config; a key that is written twice or unknown fails."""
    document = {"name": "x", "spec": "x.yaml"}
    for key, value, _ in run_choices.choose(seen):
        section, name = key.split(".")
        assert name not in document.setdefault(section, {}), key
        document[section][name] = value
    return RunConfig.model_validate(document)


def reasons_of(seen):
    return {key: reason for key, _, reason in run_choices.choose(seen)}


def test_histories_get_a_second_stage_of_members_ease_and_popularity():
    config = config_of(FILMS)
    stage = config.pre_ranking
    assert [member.history_half_life for member in stage.models] == [4, 16]
    assert {member.history_content for member in stage.models} == {"learned"}
    assert stage.ease is not None
    assert stage.tastes is not None
    bare = replace(FILMS, has_categories=False)
    assert config_of(bare).pre_ranking.tastes is None
    assert config_of(replace(bare, text_width=16)).pre_ranking.tastes.words > 0
    words = reasons_of(replace(FILMS, text_width=16))["pre_ranking.tastes"]
    assert words == "categories and words that a query chose more often than others do"
    assert stage.popularity_days == (None, 30, 7)
    assert config.training.refit
    assert config.model.history_half_life == 8
    assert config.training.early_stopping.metric == "recall@100"


@pytest.mark.parametrize(
    ("recency", "first", "members"),
    [
        (0.9, None, []),  # the order tells nothing
        (1.04, None, []),
        (1.2, 8, [4, 16]),
        (None, 8, [4, 16]),  # too few events to tell
    ],
)
def test_half_lives_follow_what_recent_events_tell(recency, first, members):
    config = config_of(replace(FILMS, recency=recency))
    assert config.model.history_half_life == first
    assert [member.history_half_life for member in config.pre_ranking.models] == members
    said = reasons_of(replace(FILMS, recency=recency))["model.history_half_life"]
    assert recency is None or f"{recency:.2f} times as near" in said


def test_towers_read_less_of_long_histories_than_linear_models():
    assert config_of(FILMS).model.history_length is None
    long = config_of(replace(FILMS, has_long_histories=True))
    assert long.model.history_length == 50
    assert {member.history_length for member in long.pre_ranking.models} == {50}


def test_examples_fade_where_demand_moves():
    assert config_of(FILMS).training.time_decay_half_life_days is None
    moving = replace(FILMS, drift=1.3)
    assert config_of(moving).training.time_decay_half_life_days == 50  # a sixth of 300
    assert "1.30 times" in reasons_of(moving)["training.time_decay_half_life_days"]


def test_texts_alone_are_read_by_wide_bags_with_a_sharp_softmax():
    config = config_of(PASSAGES)
    assert (config.model.embedding_dim, config.model.bag_positions) == (256, True)
    assert (config.training.softmax.logq, config.training.softmax.temperature) == ("none", 0.05)
    assert config.pre_ranking.popularity_days == ()
    assert config.pre_ranking.softmax.same_tower == "query"
    assert config.pre_ranking.ease is None
    assert config.pre_ranking.bm25 is not None
    assert config.index.kind == "hybrid"
    assert (config.index.lexical.question_weight, config.index.lexical.feedback) == (0.0, False)
    assert len(config.pre_ranking.models) == 2
    often = config_of(replace(PASSAGES, examples_per_candidate=4.0))
    assert often.training.softmax.logq == "counted"  # passages with many questions are drawn often


def test_few_questions_start_from_the_corpus():
    few = config_of(replace(PASSAGES, num_queries=60, num_validation=19, num_examples=1200))
    assert (few.model.token_table, few.model.query_map) == ("svd", "ridge")
    assert few.training.pseudo_questions is not None
    assert few.index.kind == "hybrid"
    assert few.pre_ranking is None  # nineteen queries are too few to fit its weights on
    spans = few.training.pseudo_questions
    assert (spans.per_candidate, spans.epochs) == (4, 2)
    assert (few.index.lexical.question_weight, few.index.lexical.feedback) == (0.0, True)
    assert config_of(PASSAGES).model.token_table == "random"


def test_passages_that_are_asked_again_keep_their_questions():
    again = config_of(replace(PASSAGES, num_queries=60, unknown_candidates=0.5))
    assert again.index.lexical.question_weight == 0.25
    assert again.pre_ranking.popularity_days == (None,)


def test_what_texts_cost_stays_within_the_budget():
    """A hundred thousand pairs of 256 words: one tower in one pass; without many questions none."""
    many = replace(PASSAGES, num_queries=2500, num_examples=110_000, num_candidates=60_000)
    stage = config_of(many).pre_ranking
    assert (len(stage.models), stage.epochs) == (1, 1)
    spans = config_of(many).training.pseudo_questions
    assert spans.per_candidate * spans.epochs == 2
    few = config_of(replace(PASSAGES, num_queries=60)).pre_ranking
    assert few.models == ()
    assert few.bm25 is not None


def test_a_large_corpus_is_not_inverted_and_a_small_one_needs_no_members():
    large = config_of(replace(FILMS, num_candidates=60_000))
    assert (large.model.wide.kind, large.pre_ranking.ease.kind) == ("truncated", "truncated")
    assert (config_of(FILMS).model.wide.kind, config_of(FILMS).pre_ranking.ease.kind) == (
        "ease",
    ) * 2
    small = config_of(replace(FILMS, num_candidates=80))
    assert (small.pre_ranking.models, small.pre_ranking.ease.half_lives) == ((), (None, 8))
    assert small.evaluate.ks == (5, 10, 20)
    assert small.training.early_stopping.metric == "recall@10"


def test_the_first_stage_learns_from_low_labels_too_where_there_are_any():
    assert config_of(FILMS).model.wide.events == "positive"
    rated = replace(FILMS, has_low_labels=True)
    assert config_of(rated).model.wide.events == "all"
    assert config_of(rated).pre_ranking.ease.events == "positive"  # the other half of the picture
    assert "low label" in reasons_of(rated)["model.wide"]


def test_neighbours_and_popularity_score_again_where_order_tells_nothing():
    bare = replace(FILMS, recency=1.0, has_categories=False)
    config = config_of(bare)
    stage = config.pre_ranking
    assert (stage.models, stage.tastes) == ((), None)
    assert stage.item_knn is not None
    assert config_of(FILMS).model.wide.half_lives == (None, 8)
    assert config_of(replace(FILMS, recency=1.5)).model.wide.half_lives == (None, 4, 1)
    assert config_of(replace(FILMS, recency=1.5)).pre_ranking.ease.half_lives == (None, 4, 1)
    assert config_of(replace(FILMS, num_validation=20)).model.wide is None  # nothing to fit it on


def test_short_histories_need_no_matrix_and_no_further_tower():
    config = config_of(replace(FILMS, events_per_query=2.0))
    stage = config.pre_ranking
    assert (stage.models, stage.ease, config.model.wide.kind) == ((), None, "none")
    assert stage.item_knn is not None


def test_histories_whose_order_tells_much_are_read_by_a_transformer():
    toys = replace(FILMS, recency=2.5, events_per_query=6.0, has_content=False)
    config = config_of(toys)
    assert config.model.history_encoder == "transformer"
    assert (config.model.history_half_life, config.training.softmax.temperature) == (2, 0.085)
    assert config.pre_ranking.models == ()
    assert config.pre_ranking.item_knn.pairs == "next"
    for other in ({"events_per_query": 2.0}, {"num_candidates": 900}, {"recency": 1.2}):
        assert config_of(replace(toys, **other)).model.history_encoder == "mean"


@pytest.mark.parametrize("number", [0, 26])
def test_with_hardly_any_validation_query_nothing_depends_on_them(number):
    few = replace(FILMS, num_validation=number)
    config = config_of(few)
    assert config.pre_ranking is None
    assert not config.training.refit
    assert config.training.early_stopping is None
    assert reasons_of(few)["training.early_stopping"].startswith(f"{number} validation queries")
    assert config.training.epochs == 5  # of 59 steps
    assert config_of(replace(few, num_examples=400)).training.epochs == 30


def test_windows_of_popularity_are_shorter_than_the_time_that_is_known():
    def days(**seen):
        return config_of(replace(FILMS, **seen)).pre_ranking.popularity_days

    assert days(span_days=40.0) == (None, 7)
    assert days(span_days=10.0) == (None,)
    assert days(has_time=False, span_days=0.0) == (None,)


@pytest.mark.parametrize("kind", [FILMS, PASSAGES])
def test_more_events_get_fewer_passes(kind):
    """Seconds to the bundle must not grow with the table, down to two passes."""
    passes = [
        config_of(replace(kind, num_examples=number)).training.epochs
        for number in (1_000, 50_000, 300_000, 3_000_000)
    ]
    assert passes == sorted(passes, reverse=True)
    assert passes[0] == 30
    assert passes[-1] == 2


def bare(directory, num=600):
    """Events without times in a table with ids alone."""
    events = [(f"u{i % 60}", f"i{(i * 7) % 599}") for i in range(num)]
    return (
        write_csv(directory / "events.csv", ("user", "item"), events),
        write_csv(directory / "items.csv", ("item",), [(f"i{i}",) for i in range(599)]),
        None,
    )


def films(directory):
    """Films with times and a genre, of sixty people who return."""
    events = [
        (f"u{i % 60}", f"i{(i * 7) % 599}", 1_700_000_000 + i * DAY // 4) for i in range(1200)
    ]
    items = [(f"i{i}", ("War", "Love", "Crime")[i % 3]) for i in range(599)]
    return (
        write_csv(directory / "events.csv", ("user", "item", "time"), events),
        write_csv(directory / "items.csv", ("item", "genre"), items),
        None,
    )


@pytest.mark.parametrize("tables", [bare, films])
def test_what_is_written_loads_and_has_a_reason_beside_each_choice(tmp_path, tables):
    spec, run = write_first_spec(*tables(tmp_path / "t"), tmp_path / "out", "x")
    config = load_run_config(run)
    assert config.pre_ranking is not None
    assert load_spec(spec).histories
    lines = run.read_text(encoding="utf-8").splitlines()
    assert "  refit: true  # at last the validation events are learned, too" in lines
    unexplained = [
        line
        for line in lines[lines.index("model:") :]
        if line.startswith("  ") and not line.startswith("   ") and " # " not in line
    ]
    assert len(unexplained) <= 9  # sizes that follow from others


def test_events_of_a_given_split_are_histories_where_queries_return(tmp_path):
    """Sequences that were split by others: without histories nothing would be known of a query."""
    splits = ("train",) * 4 + ("validation", "test")
    events = [(f"u{i // 6}", f"i{(i * 7) % 599}", splits[i % 6]) for i in range(1200)]
    paths = (
        write_csv(tmp_path / "events.csv", ("user", "item", "split"), events),
        write_csv(tmp_path / "items.csv", ("item",), [(f"i{i}",) for i in range(599)]),
    )
    spec, run = write_first_spec(*paths, None, tmp_path / "out", "x")
    assert load_spec(spec).split.kind == "given"
    assert [feature.kind for feature in load_spec(spec).query.features] == ["history"]
    assert load_run_config(run).pre_ranking is not None
    said = spec.read_text(encoding="utf-8")
    assert "That leaves 800 new pairs to learn from, and 200 queries for validation; 200" in said
