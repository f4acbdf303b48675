"""Assets that towers need besides their weights: vocabularies, statistics. No TensorFlow."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfrs_twotower.artifacts.layout import STATISTICS, VOCABULARIES
from tfrs_twotower.data.lines import check_lines
from tfrs_twotower.errors import CorruptArtifact, MissingArtifact


@dataclass(frozen=True)
class Assets:
    """Vocabularies by name, most frequent value first, and the statistics of numeric features."""

    vocabularies: dict[str, list[str]]
    """Values by vocabulary; WordPieces of a text vocabulary begin with `[PAD]`, `[UNK]`."""
    statistics: dict[str, Any] = field(default_factory=dict)
    """`numeric` holds those of each feature under `query.NAME` or `candidate.NAME`: `mean`, `std`
    (of the logarithm for `transform: log`), and `boundaries` for `transform: bucketise`."""

    def vocabulary(self, name: str) -> list[str]:
        """The values of one vocabulary.

        Raises:
            MissingArtifact: there is no vocabulary of this name.
        """
        try:
            return self.vocabularies[name]
        except KeyError:
            known = ", ".join(sorted(self.vocabularies)) or "none"
            raise MissingArtifact(
                f"{VOCABULARIES}/{name}.txt: the feature spec needs this vocabulary; found "
                f"{known}. Run preprocess again with this spec."
            ) from None

    def numeric(self, key: str) -> dict[str, Any]:
        """The statistics of one numeric feature, `query.<name>` or `candidate.<name>`.

        Raises:
            MissingArtifact: there are no statistics of this name.
        """
        try:
            return self.statistics["numeric"][key]
        except KeyError:
            raise MissingArtifact(
                f"{STATISTICS}: there are no statistics of '{key}', which the feature spec has "
                "as a numeric feature. Run preprocess again with this spec."
            ) from None


def load_assets(directory: Path) -> Assets:
    """Reads the vocabularies and statistics of a preprocessed or model artifact.

    Raises:
        MissingArtifact: the directory has no statistics file.
        CorruptArtifact: a file cannot be read.
    """
    path = directory / STATISTICS
    vocabularies = {}
    try:
        statistics = json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((directory / VOCABULARIES).glob("*.txt")):
            # Only "\n" ends a value: splitlines() would also cut at U+2028 and its kind.
            vocabularies[path.stem] = path.read_bytes().decode("utf-8").split("\n")[:-1]
    except FileNotFoundError:
        raise MissingArtifact(f"{path}: is missing; run the stage that writes it.") from None
    except (OSError, ValueError) as cause:
        raise CorruptArtifact(f"{path}: cannot be read: {cause}. Run its stage again.") from cause
    return Assets(vocabularies, statistics)


def write_assets(assets: Assets, directory: Path) -> None:
    """Writes the files that `load_assets` reads.

    Raises:
        DataError: a value has a line break, which would make two values of it.
    """
    for name, values in assets.vocabularies.items():
        broken = [value for value in values if "\n" in value]
        check_lines(broken, f"vocabulary '{name}'")
    text = json.dumps(assets.statistics, indent=2, sort_keys=True, ensure_ascii=False)
    (directory / STATISTICS).write_text(text + "\n", encoding="utf-8")
    (directory / VOCABULARIES).mkdir(exist_ok=True)
    for name, values in assets.vocabularies.items():
        data = "".join(f"{value}\n" for value in values).encode("utf-8")
        (directory / VOCABULARIES / f"{name}.txt").write_bytes(data)
