"""Operations that model servers register, and whether a server can load a SavedModel's graph."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from serving.bundle.versions import SAVED_MODEL_NAME, resolve_version
from serving.ops import library
from tfrs_twotower.errors import BundleError

SERVERS = ("stock", "scann", "tensorflow")
SCANN_NAMESPACE = "Scann>"

PYTHON_OPS = frozenset({"EagerPyFunc", "PyFunc", "PyFuncStateless"})
"""Operations of TensorFlow's core that run only in a Python process."""

TEXT_OPS = frozenset(
    {
        "CaseFoldUTF8",
        "ConstrainedSequence",
        "FastBertNormalize",
        "FastWordpieceTokenizeWithOffsets",
        "FindSourceOffsets",
        "MaxSpanningTree",
        "NormalizeUTF8",
        "NormalizeUTF8WithOffsetsMap",
        "PhraseTokenize",
        "RegexSplitWithOffsets",
        "RougeL",
        "SentenceFragments",
        "SentenceFragmentsV2",
        "SentencepieceDetokenizeOp",
        "SentencepieceIdToStringOp",
        "SentencepieceOp",
        "SentencepieceStringToIdOp",
        "SentencepieceTokenizeOp",
        "SentencepieceTokenizeWithOffsetsOp",
        "SentencepieceVocabSizeOp",
        "SplitMergeTokenizeWithOffsets",
        "TFText>BoiseTagsToOffsets",
        "TFText>ByteSplitByOffsets",
        "TFText>ByteSplitWithOffsets",
        "TFText>FastSentencepieceDetokenize",
        "TFText>FastSentencepieceTokenize",
        "TFText>FastWordpieceDetokenize",
        "TFText>NgramsStringJoin",
        "TFText>OffsetsToBoiseTags",
        "TFText>PhraseDetokenize",
        "TFText>RoundRobinGenerateMasks",
        "TFText>RoundRobinTrim",
        "TFText>Utf8Binarize",
        "TFText>WhitespaceTokenizeWithOffsetsV2",
        "TokenizerFromLogits",
        "UnicodeScriptTokenizeWithOffsets",
        "WhitespaceTokenizeWithOffsets",
        "WordpieceTokenizeWithOffsets",
    }
)

SCANN_OPS = frozenset(
    f"{SCANN_NAMESPACE}{name}"
    for name in (
        "ScannCreateSearcher",
        "ScannSearch",
        "ScannSearchBatched",
        "ScannToTensors",
        "TensorsToScann",
    )
)


def check_bundle(bundle: Path, server: str = "stock") -> tuple[str, ...]:
    """Lists operations of a bundle that a server lacks, without loading the model.

    Args:
        bundle: a bundle directory, whose served version is checked, or one version of it.
        server: `stock` for TensorFlow Serving as released, `scann` for one built with ScaNN's
            operations, `tensorflow` for a process that has only TensorFlow.

    Returns:
        Names of the missing operations, sorted; empty if the server can load the bundle.

    Raises:
        BundleError: there is no such server, or the path is not a bundle.
    """
    if server not in SERVERS:
        raise BundleError(f"server '{server}': allowed are {', '.join(SERVERS)}.")
    # `tf.raw_ops` lists the core operations of the installed TensorFlow; libraries that are loaded
    # later do not extend it. TensorFlow is never newer than 2.20 (pyproject.toml), and operations
    # of a stable release stay in later ones, so a 2.20 server has all of them except those that
    # need Python.
    core = set(dir(tf.raw_ops))
    known = core if server == "tensorflow" else (core - PYTHON_OPS) | TEXT_OPS
    if server == "scann":
        known |= SCANN_OPS
    return tuple(name for name in read_ops(resolve_version(bundle)) if name not in known)


def python_imports(bundle: Path) -> tuple[str, ...]:
    """Packages that a Python process has to import, beside TensorFlow, before it loads a bundle.

    Each registers the operations of the graph that TensorFlow lacks. `load_bundle` imports them.

    Raises:
        BundleError: the path is not a bundle.
    """
    return _imports(read_ops(resolve_version(bundle)))


def _imports(ops: Sequence[str]) -> tuple[str, ...]:
    needed = {
        "tensorflow_text": bool(TEXT_OPS.intersection(ops)),
        "scann": any(name.startswith(SCANN_NAMESPACE) for name in ops),
    }
    return tuple(package for package, is_needed in needed.items() if is_needed)


def way_out(missing: Sequence[str], server: str = "stock") -> str:
    """One sentence on what to do about operations that a server lacks."""
    if server == "tensorflow" and (imports := _imports(missing)):
        return (
            f"In Python, import {' and '.join(imports)} before tf.saved_model.load, or use "
            "serving.load_bundle, which does; other languages load the shared libraries with the "
            "operations from these packages."
        )
    if all(name.startswith(SCANN_NAMESPACE) for name in missing):
        return (
            "These are ScaNN's: serve it with a TF Serving that was built with them, or export "
            "a bundle of core operations, with `index: brute_force` in export.bundles or with "
            "index.server: stock."
        )
    if all(name.startswith(library.NAMESPACE) for name in missing):
        return (
            "These are the project's own, of serving/ops: serve it with a TF Serving that was "
            "built with them, or export with export.fused_ops: false; in Python, serving."
            "load_bundle loads what `twotower build-ops` compiled."
        )
    return "Serve it with a TF Serving that was built with them, or change what needs them."


def read_ops(version_dir: Path) -> list[str]:
    """Names of all operations that a SavedModel runs, sorted.

    The list that TensorFlow writes beside the graph (`stripped_op_list`) is not used, because it
    lacks operations in branches of `tf.cond` and in loops.

    Raises:
        BundleError: `saved_model.pb` is not a SavedModel.
    """
    graphs = read_saved_model(version_dir).meta_graphs
    return sorted(set().union(*(_ops_of(graph.graph_def) for graph in graphs)))


def read_saved_model(version_dir: Path) -> Any:
    """The `SavedModel` message of a version.

    Raises:
        BundleError: `saved_model.pb` is not a SavedModel.
    """
    path = version_dir / SAVED_MODEL_NAME
    try:
        return saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except (OSError, DecodeError) as cause:
        raise BundleError(f"{path}: not a SavedModel: {cause}. Export the bundle again.") from cause


def _ops_of(graph: Any) -> set[str]:
    """Operations of a graph and of every function that it calls, directly or not."""
    functions = {function.signature.name: function for function in graph.library.function}
    ops: set[str] = set()
    reached: set[str] = set()
    waiting = [graph.node]
    while waiting:
        for node in waiting.pop():
            ops.add(node.op)
            called = (functions.keys() & {node.op, *named_functions(node)}) - reached
            reached |= called
            waiting += [functions[name].node_def for name in called]
    return ops - functions.keys()


def named_functions(node: Any) -> Iterator[str]:
    """Names of functions in a node's attributes: branches, loop bodies, called functions."""
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        for function in value.list.func:
            yield function.name
