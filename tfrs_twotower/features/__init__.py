"""The first phase of a tower: raw values to tokens, the same offline and at the server."""
