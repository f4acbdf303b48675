"""Where the set of models comes from, looked at again at each poll."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from serving.bundle.server_files import read_models_config
from serving.server.models import config_of, read_models


@dataclass
class ModelSource:
    """A directory or a config file that says what is served."""

    _read: Callable[[], Any]
    _accepted: bytes = b""

    def read(self) -> Any:
        """The `ModelServerConfig`.

        Raises:
            BundleError: there is none, or it is wrong.
        """
        config = self._read()
        read_models(config)
        return config

    def changed(self) -> Any:
        """The `ModelServerConfig` if it is another than the accepted one, else None.

        Raises:
            BundleError: there is none, or it is wrong.
        """
        config = self.read()
        return None if _bytes(config) == self._accepted else config

    def accept(self, config: Any) -> None:
        """Keeps in mind that this config is what is served."""
        self._accepted = _bytes(config)


def from_directory(model_dir: Path) -> ModelSource:
    """A bundle, or a directory of several; each served as its own `models.config` says."""
    return ModelSource(partial(config_of, model_dir))


def from_config_file(path: Path) -> ModelSource:
    """A file with a `ModelServerConfig` in text format."""
    return ModelSource(partial(read_models_config, path))


def _bytes(config: Any) -> bytes:
    return bytes(config.SerializeToString(deterministic=True))
