from .layout import Layout, shard_of
from .manifest import MANIFEST_NAME, Lineage, Manifest, fingerprint, read_manifest, sha256_file
from .writing import (
    commit,
    link_or_copy,
    replace_directory,
    replace_file,
    seal,
    staging_directory,
    verify_files,
)

__all__ = [
    "MANIFEST_NAME",
    "Layout",
    "Lineage",
    "Manifest",
    "commit",
    "fingerprint",
    "link_or_copy",
    "read_manifest",
    "replace_directory",
    "replace_file",
    "seal",
    "sha256_file",
    "shard_of",
    "staging_directory",
    "verify_files",
]
