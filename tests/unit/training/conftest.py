from tests.fixtures.planted import (  # noqa: F401
    assets,
    corpus,
    preprocessed,
    spec,
    test_queries,
)
