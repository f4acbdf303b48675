"""Operations with which a graph reaches files, networks or Python outside of its own SavedModel.

A server runs a graph with its own rights. A graph of this package reads its variables and assets at
load, and nothing afterwards; whatever else opens a path is named here, by the graph alone: nothing
is loaded or run.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from serving.bundle.server_ops import PYTHON_OPS, named_functions, read_saved_model
from serving.bundle.versions import resolve_version
from tfrs_twotower.artifacts.manifest import is_inner_path

_SAVER_OPS = frozenset({"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"})
_FILENAME_INPUT = {
    "InitializeTableFromTextFile": 1,
    "InitializeTableFromTextFileV2": 1,
    "ReadFile": 0,
}
"""Operations that may read an asset of the SavedModel, and the position of the path."""
_PRINTS_TO = {"PrintV2": "output_stream"}
"""Operations that write to a file only if an attribute says so."""
OPS = (
    frozenset(
        {
            # Files as bytes, lines, records, tables, matrices, checkpoints.
            *("MatchingFiles", "WriteFile", "ImmutableConst"),
            *("FixedLengthRecordReader", "IdentityReader", "LMDBReader", "TFRecordReader"),
            *("TextLineReader", "WholeFileReader", "FixedLengthRecordReaderV2"),
            *("IdentityReaderV2", "TFRecordReaderV2", "TextLineReaderV2", "WholeFileReaderV2"),
            *("GenerateVocabRemapping", "LoadAndRemapMatrix", "FileSystemSetConfiguration"),
            *("Restore", "RestoreSlice", "Save", "SaveSlices", "ShardedFilespec"),
            "DistributedSave",
            # Data sets on disk, from a database or from another process.
            *("CSVDataset", "CSVDatasetV2", "CacheDataset", "CacheDatasetV2"),
            *("DatasetFromGraph", "DatasetToTFRecord", "FixedLengthRecordDataset"),
            *("FixedLengthRecordDatasetV2", "LMDBDataset", "ListSnapshotChunksDataset"),
            *("LoadDataset", "MatchingFilesDataset", "SaveDataset", "SaveDatasetV2"),
            *("SnapshotChunkDataset", "SnapshotDataset", "SnapshotDatasetReader"),
            *("SnapshotDatasetV2", "SnapshotNestedDatasetReader", "SqlDataset"),
            *("TFRecordDataset", "TFRecordDatasetV2", "TextLineDataset"),
            *("DataServiceDataset", "DataServiceDatasetV2", "DataServiceDatasetV3"),
            *("DataServiceDatasetV4", "RegisterDataset", "RegisterDatasetV2"),
            *("ExperimentalCSVDataset", "ExperimentalDatasetToTFRecord"),
            *("ExperimentalLMDBDataset", "ExperimentalMatchingFilesDataset"),
            "ExperimentalSqlDataset",
            # Event files and dumps of a debugger.
            *("CreateSummaryDbWriter", "CreateSummaryFileWriter", "ImportEvent"),
            *("DebugGradientIdentity", "DebugIdentity", "DebugIdentityV2", "DebugIdentityV3"),
            *("DebugNanCount", "DebugNumericSummary", "DebugNumericSummaryV2"),
            # Code elsewhere.
            "RemoteCall",
        }
    )
    | PYTHON_OPS
    | _SAVER_OPS
    | set(_FILENAME_INPUT)
)
_FROM_FILES = ("DecodeProtoV2", "EncodeProtoV2")
"""Operations with a `descriptor_source`, which is a path unless it is local or inside the graph."""


class FileAccess(NamedTuple):
    """A node that reaches outside of the SavedModel."""

    op: str
    node: str
    function: str
    """The function of the graph that holds the node; "" for the graph itself."""

    def __str__(self) -> str:
        """The node in words."""
        return f"{self.op} (node {self.node}{self.function and ' of ' + self.function})"


def file_access(bundle: Path) -> tuple[FileAccess, ...]:
    """Nodes of a bundle's graph that reach files, networks or Python outside of its SavedModel.

    Functions that no signature calls count too: `tf.saved_model.load` runs some of them. What
    counts as the SavedModel's own is the saver, and the reading of assets.

    Args:
        bundle: a bundle directory, whose served version is searched, or one version of it.

    Raises:
        BundleError: the path is not a bundle.
    """
    saved = read_saved_model(resolve_version(bundle))
    found = [access for graph in saved.meta_graphs for access in _MetaGraph(graph).accesses()]
    return tuple(sorted(set(found)))


class _MetaGraph:
    """One graph of a SavedModel with its functions, and what belongs to its saver."""

    def __init__(self, meta_graph: Any) -> None:
        self._nodes = {node.name: node for node in meta_graph.graph_def.node}
        self._functions = {
            function.signature.name: function for function in meta_graph.graph_def.library.function
        }
        self._assets = {_node_of(asset.tensor_info.name) for asset in meta_graph.asset_file_def}
        self._outside = [a for a in meta_graph.asset_file_def if not is_inner_path(a.filename)]
        saver = meta_graph.saver_def
        self._filename = _node_of(saver.filename_tensor_name)
        served = self._before(
            _node_of(output.name)
            for signature in meta_graph.signature_def.values()
            for output in signature.outputs.values()
        )
        own = self._before([_node_of(saver.save_tensor_name), _node_of(saver.restore_op_name)])
        self._saver_nodes = own - served
        others = [node for name, node in self._nodes.items() if name not in self._saver_nodes]
        savers = [self._nodes[name] for name in self._saver_nodes]
        self._saver_functions = self._called_by(savers) - self._called_by(others)

    def accesses(self) -> Iterator[FileAccess]:
        for asset in self._outside:
            yield FileAccess("asset", f"{asset.filename!r}", "")
        for node in self._nodes.values():
            if self._reaches_out(node, self._nodes, is_saver=node.name in self._saver_nodes):
                yield FileAccess(node.op, node.name, "")
        for name, function in self._functions.items():
            nodes = {node.name: node for node in function.node_def}
            is_saver = name in self._saver_functions
            for node in nodes.values():
                if self._reaches_out(node, nodes, is_saver=is_saver, function=function):
                    yield FileAccess(node.op, node.name, name)

    def _reaches_out(
        self, node: Any, nodes: Mapping[str, Any], *, is_saver: bool, function: Any = None
    ) -> bool:
        if node.op in _PRINTS_TO:
            return node.attr[_PRINTS_TO[node.op]].s.startswith(b"file:")
        if node.op in _FROM_FILES:
            source = node.attr["descriptor_source"].s
            return bool(source) and not source.startswith((b"local://", b"bytes://"))
        if node.op not in OPS:
            return False
        if is_saver and node.op in _SAVER_OPS:
            return node.op == "RestoreV2" and not self._is_prefix(node.input[0], function)
        if node.op in _FILENAME_INPUT:
            path = node.input[_FILENAME_INPUT[node.op]]
            return not self._is_asset(path, nodes, function)
        return True

    def _is_prefix(self, source: str, function: Any) -> bool:
        """Whether a path is that of the SavedModel's own variables, given by whoever loads it."""
        if function is None:
            return _node_of(source) == self._filename
        paths = self._arguments(source, function)
        return bool(paths) and all(_node_of(path) == self._filename for path in paths)

    def _is_asset(self, source: str, nodes: Mapping[str, Any], function: Any) -> bool:
        """Whether a path is that of an asset, in every call if a function takes it."""
        name = _node_of(source)
        if function is None and name in self._assets:
            return True
        node = nodes.get(name)
        if node is None:
            paths = self._arguments(source, function)
            return bool(paths) and all(self._is_asset(path, self._nodes, None) for path in paths)
        if node.op == "Identity":
            return self._is_asset(node.input[0], nodes, function)
        if node.op == "ReadVariableOp":
            assigned = [
                other.input[1]
                for other in nodes.values()
                if other.op == "AssignVariableOp" and other.input[0] == node.input[0]
            ]
            return bool(assigned) and all(self._is_asset(one, nodes, function) for one in assigned)
        return False

    def _arguments(self, source: str, function: Any) -> list[str]:
        """What the graph gives as an argument of a function, in every call.

        Empty if it is no argument, or if another function calls this one: no SavedModel that
        TensorFlow writes does that for a path, and a finding is the safe answer.
        """
        names = [] if function is None else [each.name for each in function.signature.input_arg]
        inner = (node for other in self._functions.values() for node in other.node_def)
        if source not in names or any(function.signature.name in _called(node) for node in inner):
            return []
        at, name = names.index(source), function.signature.name
        return [node.input[at] for node in self._nodes.values() if name in _called(node)]

    def _before(self, names: Iterable[str]) -> set[str]:
        """Names of these nodes and of all that they depend on."""
        found: set[str] = set()
        waiting = [name for name in names if name in self._nodes]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += [_node_of(source) for source in self._nodes[name].input]
        return found & self._nodes.keys()

    def _called_by(self, nodes: Iterable[Any]) -> set[str]:
        """Names of the functions that nodes call, directly or not."""
        found: set[str] = set()
        waiting = [name for node in nodes for name in _called(node)]
        while waiting:
            name = waiting.pop()
            if name in self._functions and name not in found:
                found.add(name)
                waiting += [n for node in self._functions[name].node_def for n in _called(node)]
        return found


def _called(node: Any) -> set[str]:
    return {node.op, *named_functions(node)}


def _node_of(tensor: str) -> str:
    """The node's name in the name of a tensor (`a:0`) or of a control input (`^a`)."""
    return tensor.removeprefix("^").partition(":")[0]
