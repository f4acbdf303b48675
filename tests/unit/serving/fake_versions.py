"""Published versions without a model in them: a file and a manifest."""

from tfrs_twotower.artifacts import seal


def publish_fake(bundle, version, **details):
    directory = bundle / str(version)
    directory.mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"%d" % version)
    seal(
        directory,
        kind="bundle",
        spec_fingerprint="s",
        config_fingerprint="c",
        parents={},
        counts={"version": version},
        details=details,
    )
    return directory
