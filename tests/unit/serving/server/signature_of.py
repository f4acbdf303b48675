"""The signature of the served model's baskets and texts, without a SavedModel."""

from serving.server.request_tensors import Signature
from tests.fixtures.served_model import BASKET, TEXT


def basket() -> Signature:
    return Signature("serving_default", BASKET, ("candidate_ids", "model_version", "scores"))


def text() -> Signature:
    return Signature("lengths", TEXT, ("length",))
