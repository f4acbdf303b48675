"""The Markdown and the JSON of the measurement."""

from collections.abc import Mapping, Sequence

import numpy as np

from tests.benchmarks.paper_protocol.measuring import TWO_FEATURES, Facts, Scores
from tests.benchmarks.paper_protocol.models import BASELINE, VARIANTS
from tests.benchmarks.paper_protocol.protocols import PROTOCOLS

LEAKY, RANDOM, TEMPORAL = PROTOCOLS
COLUMNS = (("auc", "AUC"), ("relaimpr", "RelaImpr"), ("gauc", "GAUC"), ("log_loss", "log loss"))

Summary = dict[str, dict[str, dict[str, tuple[float, float]]]]
"""Protocol, model, metric: mean and standard deviation over seeds."""


def summarise(scores: Sequence[Scores]) -> Summary:
    """Means and deviations; RelaImpr (per cent) against the two-tower of the same seed."""
    base = {(s.protocol, s.seed): s.auc for s in scores if s.model == BASELINE}
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for s in scores:
        entry = values.setdefault(s.protocol, {}).setdefault(s.model, {})
        gain = (s.auc - 0.5) / (base[s.protocol, s.seed] - 0.5) - 1.0
        for metric, value in (
            ("auc", s.auc),
            ("relaimpr", 100.0 * gain),
            ("gauc", s.gauc),
            ("log_loss", s.log_loss),
        ):
            entry.setdefault(metric, []).append(value)
    return {
        protocol: {
            model: {metric: _mean_and_deviation(v) for metric, v in metrics.items()}
            for model, metrics in models.items()
        }
        for protocol, models in values.items()
    }


def render(scores: Sequence[Scores], facts: Mapping[str, Facts]) -> str:
    """The tables with their caption."""
    summary = summarise(scores)
    num_seeds = len({s.seed for s in scores})
    parts = [_caption(summary, facts, num_seeds)]
    for columns in (COLUMNS[:2], COLUMNS[2:]):
        parts.append(_table(summary, columns))
    parts.append(_small_print(facts))
    return "\n\n".join(parts) + "\n"


def _caption(summary: Summary, facts: Mapping[str, Facts], num_seeds: int) -> str:
    def regression(protocol: str) -> str:
        return _number(summary[protocol][TWO_FEATURES]["auc"][0])

    return (
        "**The paper protocol, on purpose (MovieLens-100K).** The column *leaky* repeats what the "
        "published script of IntTower does on MovieLens-1M: ratings of 3 dropped, above 3 is "
        "positive, random split, and two features that are the mean *label* of the row's user and "
        "of its item inside the row's own split. A test row's features so contain its own answer. "
        "**Its numbers mean nothing**: a logistic regression that sees those two numbers and "
        f"nothing else, no user, no item, reaches AUC {regression(LEAKY)}. With the same rows and "
        "the same random split, but means that leave out the row's own label and all labels of "
        f"test, it reaches {regression(RANDOM)}: the difference was the answer. Split by time, as "
        f"a recommender is used, it reaches {regression(TEMPORAL)}; "
        f"{facts[TEMPORAL].unknown_user_share_of_test:.0%} of those test rows are of users that "
        "were not fitted. They stay in, as the unknown id, and those without any earlier rating "
        f"({facts[TEMPORAL].new_user_share_of_test:.0%}) with the overall mean for theirs.\n\n"
        f"Mean ± standard deviation over {num_seeds} seeds (split and weights; the temporal split "
        "is one, so there only weights differ, and the regression not at all). RelaImpr, in per "
        "cent, is (AUC - .5) / (AUC of the two-tower - .5) - 1. The two-tower and both DATs score "
        "with cosine + bias, as in the paper; *learned scale* multiplies the cosine by one trained "
        "number, which is a matter of calibration and no architecture. *DAT, random vectors* is a "
        "control that must not help; such vectors are what IntTower's published code calls DAT."
    )


def _table(summary: Summary, columns: Sequence[tuple[str, str]]) -> str:
    heads = [f"{title}, {protocol}" for _, title in columns for protocol in PROTOCOLS]
    lines = ["| model | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for model in (TWO_FEATURES, *VARIANTS):
        cells = [
            _cell(metric, *summary[protocol][model][metric])
            for metric, _ in columns
            for protocol in PROTOCOLS
        ]
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _small_print(facts: Mapping[str, Facts]) -> str:
    leaky, random, temporal = (facts[name] for name in PROTOCOLS)
    return (
        f"Rows to fit / validation / test: {_sizes(leaky)} leaky, {_sizes(random)} random, "
        f"{_sizes(temporal)} temporal; of test {random.positive_share_of_test:.0%} (random) and "
        f"{temporal.positive_share_of_test:.0%} (temporal) are positive. The leaky validation rows "
        "are those with the highest film ids, as a merge in the script leaves them: "
        f"{leaky.unknown_item_share_of_validation:.0%} are of films that were not fitted, and so "
        f"are {leaky.unknown_item_share_of_test:.0%} of the test rows "
        f"({random.unknown_item_share_of_test:.0%} with the honest random split). Honest means are "
        "smoothed with 5 pseudo-labels of the overall mean and left out by one for the rows that "
        "are fitted. GAUC is the mean of the users' AUC, weighted by rows, over users with both "
        f"labels (leaves out {random.user_share_without_gauc:.0%} of users, temporal "
        f"{temporal.user_share_without_gauc:.0%}). Towers: 32 numbers a field, dropout .1, Adam "
        "at .001, best of at most 10 epochs by validation AUC (patience 5). Batches of 256 stand "
        "for the paper's 2048, as there are a tenth of the rows; IntTower has layers of 128 and "
        "64, and 4 heads of 64 numbers; CIR has weight .05, temperature .1."
    )


def _sizes(facts: Facts) -> str:
    return " / ".join(f"{n:,}" for n in (facts.fit_rows, facts.validation_rows, facts.test_rows))


def _cell(metric: str, mean: float, deviation: float) -> str:
    if metric == "relaimpr":
        return f"{mean:+.1f} ± {deviation:.1f}"
    return f"{_number(mean)} ± {_number(deviation)}"


def _number(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
