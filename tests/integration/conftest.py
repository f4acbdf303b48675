import pytest

from tests.fixtures.tiny_model import tiny_context, write_tiny_model
from tests.fixtures.tiny_pre_ranker import WITH_BM25, write_tiny_pre_ranker

CASCADE_EXPORT = {"k": 10, "allowed_batch_sizes": [1], "restricts": ["topics"]}


@pytest.fixture(scope="session")
def cascade_context(tmp_path_factory):
    """A run with a pre-ranker and restricts whose bundle `tiny` has one version."""
    from pipelines.stages import build_index, embed, export

    context = tiny_context(
        tmp_path_factory.mktemp("run"), pre_ranking=WITH_BM25, export=CASCADE_EXPORT
    )
    write_tiny_model(context)
    write_tiny_pre_ranker(context)
    embed.run(context)
    build_index.run(context)
    export.run(context)
    return context
