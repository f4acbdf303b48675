"""Prints one answered query in words, and the agreement of two bundles."""

from itertools import zip_longest

from rich.table import Table

from pipelines.cli.screen import output_console
from pipelines.stages.context import StageContext


def print_recommendations(context: StageContext) -> None:
    """Prints ten titles that the first bundle recommends, beside the query's history."""
    from pipelines.stages.demonstration import recommend_to_one_query

    bundle = context.config.export.bundles[0].name
    found = recommend_to_one_query(context, bundle)
    console = output_console()
    about = ", ".join(f"{name} {value}" for name, value in found.features.items())
    console.print(f"\nQuery {found.query_id}" + (f" ({about})" if about else ""))
    table = Table(box=None)
    table.add_column("latest choices", max_width=44, no_wrap=True)
    table.add_column("")
    table.add_column("recommended", max_width=44, no_wrap=True)
    table.add_column("score", justify="right")
    table.add_column("")
    answers = zip(found.titles, found.scores, found.relevant, strict=True)
    for past, answer in zip_longest(found.history, answers):
        title, score, relevant = answer or ("", None, False)
        table.add_row(
            past or "",
            "",
            title,
            "" if score is None else f"{score:.3f}",
            "chosen later" if relevant else "",
        )
    console.print(table)
    console.print(f"answered by bundle {bundle}, version {found.model_version}")


def print_bundle_agreement(context: StageContext) -> None:
    """Prints how far each further bundle's answers agree with the first one's."""
    from pipelines.stages.demonstration import agreement_of_bundles

    first, *others = [bundle.name for bundle in context.config.export.bundles]
    for other in others:
        share = agreement_of_bundles(context, first, other)
        output_console().print(
            f"bundles {first} and {other}: {share:.2%} of their answers are the same"
        )
