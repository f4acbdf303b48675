"""A request to start from: a `curl` line that a model answers, to be filled in by its user."""

import json
import shlex

from serving.bundle.warmup import blank
from serving.server.json_values import answer_of
from serving.server.served_version import LoadedVersion
from serving.server.signatures import DEFAULT


def first_request(loaded: LoadedVersion, address: str) -> str:
    """A command that asks a model's default signature for one query with blank features.

    Args:
        loaded: the model's version.
        address: of the REST API, `http://HOST:PORT`.
    """
    inputs = {
        name: blank(name, spec, 1) for name, spec in loaded.signatures[DEFAULT].inputs.items()
    }
    columns = json.loads(answer_of(inputs, rows=False))["outputs"]
    if len(inputs) == 1:
        columns = {next(iter(inputs)): columns}
    row = {name: values[0] for name, values in columns.items()}
    body = shlex.quote(json.dumps({"instances": [row]}))
    return f"curl {address}/v1/models/{loaded.model_name}:predict -d {body}"
