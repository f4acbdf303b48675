"""Predict and GetModelMetadata over REST, in the columnar form; nothing here loads TensorFlow."""

import base64
import json
from typing import Any

import numpy as np
import urllib3

from serving.client.endpoint import Target
from serving.client.request_inputs import Arrays, Input, Signatures, width_of
from tfrs_twotower.errors import EndpointError

_CODES = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""gRPC code names for the HTTP statuses of TensorFlow Serving, or of a proxy before it (502); other
statuses are INTERNAL."""
_CONNECTIONS = 32


class RestTransport:
    """A pool of HTTP connections, which many threads may use."""

    def __init__(self, target: Target) -> None:
        """Creates the pool, which connects at its first request."""
        self._target = target
        context = target.tls.context() if target.is_encrypted else None
        self._pool = urllib3.PoolManager(maxsize=_CONNECTIONS, retries=False, ssl_context=context)
        self._url = f"{target.scheme}://{target.address}{target.path}"

    def predict(self, signature: str, inputs: Arrays, timeout_s: float) -> Arrays:
        """Calls a signature once, and returns its outputs.

        Raises:
            EndpointError: with gRPC's name for the status.
        """
        body = predict_body(signature, inputs)
        answer = self._call("POST", f"{self._url}:predict", timeout_s, body)
        if not isinstance(
            answer.get("outputs"), dict
        ):  # the server drops the name of a single output
            raise self._error("FAILED_PRECONDITION", f"{signature} is not of a bundle: no names")
        return {name: _as_array(values) for name, values in answer["outputs"].items()}

    def signatures(self, timeout_s: float) -> Signatures:
        """Inputs of every signature.

        Raises:
            EndpointError: with gRPC's name for the status.
        """
        answer = self._call("GET", f"{self._url}/metadata", timeout_s)
        definitions = answer["metadata"]["signature_def"]["signature_def"]
        return {
            signature: {name: _json_input(info) for name, info in definition["inputs"].items()}
            for signature, definition in definitions.items()
            if definition.get("inputs")
        }

    def close(self) -> None:
        """Closes the connections."""
        self._pool.clear()

    def _call(self, method: str, url: str, timeout_s: float, body: bytes | None = None) -> Any:
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            response = self._pool.request(
                method, url, body=body, headers=headers, timeout=urllib3.Timeout(total=timeout_s)
            )
        except urllib3.exceptions.NewConnectionError as cause:
            raise self._error("UNAVAILABLE", str(cause)) from None
        except urllib3.exceptions.TimeoutError:
            raise self._error("DEADLINE_EXCEEDED", f"no answer in {timeout_s:.3f} s") from None
        except urllib3.exceptions.HTTPError as cause:
            raise self._error("UNAVAILABLE", str(cause)) from None
        try:
            answer = json.loads(response.data)
        except ValueError:
            answer = None
        if response.status == 200 and isinstance(answer, dict):
            return answer
        shown = response.data[:200].decode(errors="replace")
        message = answer.get("error", shown) if isinstance(answer, dict) else shown
        code = _CODES.get(response.status, "INTERNAL")
        raise self._error(code, f"HTTP {response.status}: {message}")

    def _error(self, code: str, what: str) -> EndpointError:
        return EndpointError(f"{self._target.description}: {code}: {what}", code)


def predict_body(signature: str, inputs: Arrays) -> bytes:
    """The body of a Predict request, in the columnar form."""
    columns = {name: _as_json(values.tolist()) for name, values in inputs.items()}
    request = {"signature_name": signature, "inputs": columns}
    return json.dumps(request, ensure_ascii=False).encode()


def _as_json(values: Any) -> Any:
    """Converts bytes to text, or to base64 if they are not UTF-8; numbers stay as they are."""
    if isinstance(values, list):
        return [_as_json(value) for value in values]
    if not isinstance(values, bytes):
        return values
    try:
        return values.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(values).decode()}


def _as_array(values: Any) -> Any:
    array = np.array(values)
    if array.dtype.kind == "U":
        return np.array(_encoded(values), object)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _encoded(values: Any) -> Any:
    if isinstance(values, list):
        return [_encoded(value) for value in values]
    return values.encode()


def _json_input(info: Any) -> Input:
    shape = [int(dimension["size"]) for dimension in info["tensor_shape"].get("dim", ())]
    return Input(info["dtype"], width_of(shape))
