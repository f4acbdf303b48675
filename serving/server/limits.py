"""How much and how long one request may take, so that a hostile one cannot hold the server."""

MAX_BODY_BYTES = 4 << 20
"""Of a request in either API; what gRPC allows by default."""
MAX_DISCARDED_BYTES = 64 << 20
"""Of a body that is too large, read and dropped so that its sender can read the answer."""
MAX_ROWS = 1024
"""Of a request to a version without batching parameters."""
MAX_VALUES = 1 << 16
"""In one input, of a request or of a batch after padding: 64 rows of 1,024."""
MAX_BATCH_BYTES = 16 << 20
"""Of an input of a batch after padding; what is larger is neither padded nor put together."""
MAX_STRING_BYTES = 1 << 16
"""Of one string, or one serialized Example."""
MAX_PENDING = 1000
"""Requests that wait for an answer at one time."""
MAX_CONNECTIONS = 1000
"""Over HTTP; requests beyond them are answered 503."""
ARRIVAL_S = 30.0
"""Until an HTTP request must have arrived, headers and body; TensorFlow Serving's own limit."""
GRACE_S = 5.0
"""For requests that are under way when the server is told to end."""
