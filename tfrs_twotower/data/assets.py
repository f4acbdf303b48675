"""Assets that towers need besides their weights: vocabularies, statistics. No TensorFlow."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfrs_twotower.artifacts.layout import FRESH_IDS, STATISTICS, VOCABULARIES
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
    num_fresh: dict[str, int] = field(default_factory=dict)
    """How many ids at the end of a vocabulary only the validation window adds; by vocabulary."""

    def of_first_fit(self) -> "Assets":
        """The same without the ids that only the validation window adds: a first fit's."""
        vocabularies = {
            name: values[: len(values) - self.num_fresh.get(name, 0)]
            for name, values in self.vocabularies.items()
        }
        return Assets(vocabularies, self.statistics)

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

    A preprocessed artifact, and the model of a refit, hold ids of the validation window as well;
    `Assets.of_first_fit` leaves them out.

    Raises:
        MissingArtifact: the directory has no statistics file.
        CorruptArtifact: a file cannot be read.
    """
    path = directory / STATISTICS
    vocabularies, num_fresh = {}, {}
    try:
        statistics = json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((directory / VOCABULARIES).glob("*.txt")):
            vocabularies[path.stem] = read_lines(path)
        for path in sorted((directory / FRESH_IDS).glob("*.txt")):
            fresh = read_lines(path)
            vocabularies[path.stem] += fresh
            num_fresh[path.stem] = len(fresh)
    except FileNotFoundError:
        raise MissingArtifact(f"{path}: is missing; run the stage that writes it.") from None
    except (OSError, ValueError, KeyError) as cause:
        raise CorruptArtifact(f"{path}: cannot be read: {cause}. Run its stage again.") from cause
    return Assets(vocabularies, statistics, {name: n for name, n in num_fresh.items() if n})


def read_lines(path: Path) -> list[str]:
    """The values of a vocabulary's file."""
    # Only "\n" ends a value: splitlines() would also cut at U+2028 and its kind.
    return path.read_bytes().decode("utf-8").split("\n")[:-1]


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
    for name, values in assets.of_first_fit().vocabularies.items():
        write_lines(values, directory / VOCABULARIES / f"{name}.txt")
    for name, number in assets.num_fresh.items():
        (directory / FRESH_IDS).mkdir(exist_ok=True)
        write_lines(assets.vocabularies[name][-number:], directory / FRESH_IDS / f"{name}.txt")


def write_lines(values: list[str], path: Path) -> None:
    """Writes a vocabulary's file."""
    path.write_bytes("".join(f"{value}\n" for value in values).encode("utf-8"))
