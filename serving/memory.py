"""What a version takes at a model server, and two of them side by side while it swaps."""

from pathlib import Path

from serving.versions import SAVED_MODEL_NAME

_LOADED_DIRECTORIES = ("variables", "assets")
# TensorFlow Serving's own estimate of a model's memory is the bytes of its files times this.
_MEMORY_OF_A_BYTE = 1.2


def model_bytes(version_dir: Path) -> int:
    """Bytes of the files that a server loads: graph, variables, assets.

    What lies beside them (titles, warm-up requests, `refresh/`) is not loaded; TensorFlow Serving
    counts it all the same where `--total_model_memory_limit_bytes` is set.
    """
    loaded = [version_dir / SAVED_MODEL_NAME]
    for name in _LOADED_DIRECTORIES:
        loaded += (version_dir / name).rglob("*")
    return sum(path.stat().st_size for path in loaded if path.is_file())


def memory_estimate(new_dir: Path, old_dir: Path | None) -> dict[str, int]:
    """Memory of a version, and of a server while it swaps, when both versions are loaded.

    Args:
        new_dir: of the version.
        old_dir: of the version that it follows; without one, two as large as the new one.

    Returns:
        `version_bytes` and `swap_bytes`, estimates.
    """
    new = model_bytes(new_dir)
    old = new if old_dir is None else model_bytes(old_dir)
    return {
        "version_bytes": round(_MEMORY_OF_A_BYTE * new),
        "swap_bytes": round(_MEMORY_OF_A_BYTE * (old + new)),
    }
