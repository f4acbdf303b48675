"""Whether artifacts that go into one bundle were made from each other."""

from collections.abc import Mapping

from tfrs_twotower.artifacts import Manifest
from tfrs_twotower.errors import BundleError


def check_descent(manifests: Mapping[str, Manifest]) -> dict[str, str]:
    """Checks that artifacts descend from each other, and from one feature spec.

    Args:
        manifests: of the artifacts, by kind.

    Returns:
        Their fingerprints, by kind.

    Raises:
        BundleError: one was made from another artifact, or spec, than the one that is given; the
            message names both fingerprints.
    """
    found = {kind: manifest.fingerprint for kind, manifest in manifests.items()}
    for kind, manifest in manifests.items():
        for parent, made_from in manifest.parents.items():
            if parent in found and found[parent] != made_from:
                raise _mixed(kind, parent, made_from, found[parent])
    specs = {kind: manifest.spec_fingerprint for kind, manifest in manifests.items()}
    first = next(iter(specs.values()))
    for kind, spec in specs.items():
        if spec != first:
            raise _mixed(kind, "feature spec", spec, first)
    return found


def _mixed(kind: str, parent: str, made_from: str, given: str) -> BundleError:
    return BundleError(
        f"a bundle cannot be built: its {kind} was made from {parent} {made_from}, and the "
        f"{parent} that is given is {given}. Run the stages that write them again, in order."
    )
