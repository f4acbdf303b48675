"""Published versions without a model in them: a file and a manifest."""

from tfrs_twotower.artifacts import seal


def publish_fake(bundle, version, candidates=100, k=10, parents=(), **details):
    directory = bundle / str(version)
    directory.mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"%d" % version)
    seal(
        directory,
        kind="bundle",
        spec_fingerprint="s",
        config_fingerprint="c",
        parents=dict(parents),
        counts={"version": version, "candidates": candidates, "k": k},
        details=details,
    )
    return directory
