"""Lets Beam do once what it does for every transform, and lets tables travel as light as they may.

Building a graph of 120 transforms and running it on next to nothing takes three CPU seconds in Beam
2.77. Nearly half are argument parsers that are made anew, and `inspect.signature` of the same few
methods of `DoFn`. What those give does not change.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import FunctionType, MethodType
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.transforms import core

from pipelines.transforms import batches

LOCAL = (None, "DirectRunner", "FnApiRunner", "InMemoryRunner")
"""Names of Beam's runner that needs no service."""
_View = TypeVar("_View", bound=PipelineOptions)
_Arguments = tuple[list[str], list[Any]]


class Options(PipelineOptions):
    """Options that parse their arguments once for each kind of them."""

    def view_as(self, cls: type[_View]) -> _View:
        """See `PipelineOptions.view_as`; views share their values anyway."""
        views = vars(self).setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return cast(_View, views[cls])

    def __getstate__(self) -> dict[str, Any]:
        return {name: part for name, part in super().__getstate__().items() if name != "_views"}


def remember_methods() -> None:
    """Lets Beam remember the arguments of methods; may be called again."""
    plain = core.get_function_args_defaults
    if not hasattr(plain, "remembers"):
        core.get_function_args_defaults = _remembering(plain)


def _remembering(plain: Callable[[Any], _Arguments]) -> Callable[[Any], _Arguments]:
    known: WeakKeyDictionary[Any, _Arguments] = WeakKeyDictionary()

    def arguments(function: Any) -> _Arguments:
        if not isinstance(function, MethodType) or not isinstance(function.__func__, FunctionType):
            return plain(function)
        if function.__func__ not in known:
            known[function.__func__] = plain(function)
        names, defaults = known[function.__func__]
        return list(names), list(defaults)

    arguments.remembers = True  # type: ignore[attr-defined]
    return arguments


def packing(options: PipelineOptions) -> AbstractContextManager[None]:
    """How tables are packed in a job: compressed, unless its workers are threads of this process.

    Compressing all tables of a job takes a sixth of its time.
    """
    is_local = options.view_as(StandardOptions).runner in LOCAL
    mode = options.view_as(DirectOptions).direct_running_mode
    alone = is_local and mode != "multi_processing"
    return batches.as_they_are() if alone else nullcontext()
