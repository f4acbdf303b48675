"""ScaNN's TensorFlow operations: loading them, and letting them use the processor.

ScaNN picks its kernels by flags that it sets from the processor's features when it is loaded. The
function that reads the features is guarded by a macro (PLATFORM_IS_X86) that the build of the 1.4
wheels does not define, so it finds none, and every processor computes hashed scores by the kernels
for SSE4. The flag is an exported variable of the library; here it is set as ScaNN itself would have
set it. Neighbours and scores are the same (decision 0022).
"""

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

from tfrs_twotower.errors import UnsupportedEnvironment

_USES_AVX2 = "_ZN14research_scann14flags_internal15should_use_avx2E"
_AVX2_KERNELS_NEED = frozenset({"avx2", "fma"})
_PROCESSOR = Path("/proc/cpuinfo")


@cache
def load_scann() -> Any:
    """ScaNN's TensorFlow operations; the library is loaded and set up once.

    Raises:
        UnsupportedEnvironment: ScaNN is not installed, or its operations do not fit TensorFlow.
    """
    try:
        from scann.scann_ops.py import scann_ops
    except ModuleNotFoundError as cause:
        raise UnsupportedEnvironment(
            f"ScaNN is not installed ({cause}), and an index of kind scann needs it. Install "
            "'scann[tf]' (Linux x86-64 with AVX2 only), or set index.kind: brute_force."
        ) from cause
    except Exception as cause:
        raise UnsupportedEnvironment(
            f"ScaNN's operations do not load: {cause}. The version of ScaNN must fit that of "
            "TensorFlow: install 'scann[tf]', or set index.kind: brute_force."
        ) from cause
    flag = avx2_flag(library_of(scann_ops))
    if flag is not None and _processor_features() >= _AVX2_KERNELS_NEED:
        flag.value = True
    return scann_ops


def library_of(scann_ops: Any) -> Path:
    """The shared object that the operations come from."""
    return Path(scann_ops.__file__).parents[1] / "cc" / "_scann_ops.so"


def avx2_flag(library: Path) -> ctypes.c_bool | None:
    """ScaNN's own switch for its AVX2 kernels; None where a version of ScaNN has no such switch.

    Args:
        library: the shared object of its operations, loaded before.
    """
    try:
        return ctypes.c_bool.in_dll(ctypes.CDLL(str(library), os.RTLD_NOLOAD), _USES_AVX2)
    except (OSError, ValueError):
        return None


def _processor_features() -> frozenset[str]:
    """What the operating system lets programs use; none where it does not say so (not Linux)."""
    try:
        lines = _PROCESSOR.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = (line.partition(":")[2] for line in lines if line.startswith("flags"))
    return frozenset(next(flags, "").split())
