"""Uvicorn as the REST API's server."""

import signal

from serving.server.rest_api import RestServer


def test_signals_are_left_to_whoever_started_the_server():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with RestServer(lambda *_: None).capture_signals():
        inside = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert inside == handlers
