"""Lets Beam remember what it finds out anew for each transform, and tables travel light.

Building a graph of 120 transforms and running it on next to nothing takes three CPU seconds in Beam
2.77, and nearly half of them are these: each look at an option builds a parser of all options, and
each transform inspects the signatures of its function's methods several times. Both answers depend
on their arguments alone. What pipelines do is not touched.
"""

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.transforms import core

from pipelines.transforms import batches

LOCAL = (None, "DirectRunner", "FnApiRunner", "InMemoryRunner")
"""Names of Beam's runner that needs no service."""


class _Memory:
    """Answers by their arguments, and Beam's own functions that give them."""

    arguments_of = staticmethod(core.get_function_args_defaults)
    view_of = staticmethod(PipelineOptions.view_as)
    arguments: dict[Any, tuple[list[str], list[Any]]] = {}
    options: dict[Any, Any] = {}


def remember() -> None:
    """Gives Beam the memory, for the rest of the process."""
    core.get_function_args_defaults = _arguments
    PipelineOptions.view_as = _view_as


def _arguments(function: Any) -> tuple[list[str], list[Any]]:
    """Names and defaults of a function's arguments."""
    own = getattr(function, "__func__", function)
    key, known = (own, hasattr(function, "__self__")), _Memory.arguments
    try:
        names, defaults = known[key]
    except KeyError:
        names, defaults = known[key] = _Memory.arguments_of(function)
    except TypeError:  # it has no hash
        return _Memory.arguments_of(function)
    return list(names), list(defaults)


def _view_as(options: PipelineOptions, kind: type[PipelineOptions]) -> PipelineOptions:
    """A view of options as those of one kind, with which it shares what is set."""
    if options._flags is None:
        return _Memory.view_of(options, kind)
    key, parsed = (kind, tuple(options._flags)), _Memory.options
    if key not in parsed:
        parsed[key] = kind(options._flags)._visible_options
    view: PipelineOptions = object.__new__(kind)
    view._flags = options._flags
    view._visible_options = copy.deepcopy(parsed[key])
    for name in view._visible_option_list():
        options._all_options.setdefault(name, getattr(view._visible_options, name))
    view._all_options = options._all_options
    return view


def packing(options: PipelineOptions) -> AbstractContextManager[None]:
    """How tables are packed in a job: compressed, unless its workers are threads of this process.

    Compressing all tables of a job takes a sixth of its time.
    """
    is_local = options.view_as(StandardOptions).runner in LOCAL
    mode = options.view_as(DirectOptions).direct_running_mode
    alone = is_local and mode != "multi_processing"
    return batches.as_they_are() if alone else nullcontext()
