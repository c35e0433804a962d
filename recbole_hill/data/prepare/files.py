"""Which files a source has: one file, the files of a folder, or the files in a zip archive."""

import gzip
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

#: How files are read, by the end of their names (before ``.gz``).
KINDS = {
    **dict.fromkeys((".csv", ".tsv", ".txt", ".dat", ".data", ".tab"), "text"),
    **dict.fromkeys((".jsonl", ".json", ".ndjson"), "json lines"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    ".inter": "atomic",
}
ACCEPTED = f"accepted are {', '.join(KINDS)} (each also .gz, but for parquet), a folder or a .zip"


@dataclass(frozen=True, order=True)
class SourceFile:
    """A file, or a file in a zip archive.

    Attributes:
        path: The file, or the archive.
        member: The file's name in the archive, or "".
    """

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """The file's own name, without folders."""
        return Path(self.member or self.path).name

    @property
    def kind(self) -> str | None:
        """One of the values of `KINDS`; None for a file that is not read."""
        return KINDS.get(Path(self.name.lower().removesuffix(".gz")).suffix)

    def opened(self) -> BinaryIO:
        """Opens the file's bytes, decompressed."""
        path = zipfile.Path(self.path, self.member) if self.member else self.path
        raw = path.open("rb")
        return gzip.open(raw, "rb") if self.name.lower().endswith(".gz") else raw

    def head(self, size: int = 1 << 16) -> bytes:
        """Returns the first bytes.

        Raises:
            ValueError: If the file is named ``.gz`` and is not compressed so.
        """
        try:
            with self.opened() as stream:
                return stream.read(size)
        except (gzip.BadGzipFile, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{self} is damaged: {error}") from error

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)


def files_of(source: str | Path) -> list[SourceFile]:
    """Returns every file of a source that might be read, in the order of their names.

    Args:
        source: A file, a folder (with its sub-folders of one level), or a zip archive.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If no file in it can be read.
    """
    path = Path(source)
    if path.is_dir():
        found = [*path.glob("*"), *path.glob("*/*")]
        files = [SourceFile(file) for file in found if file.is_file()]
    elif path.suffix.lower() == ".zip" and path.is_file():
        try:
            names = zipfile.ZipFile(path).namelist()
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        files = [SourceFile(path, name) for name in names if not name.startswith("__MACOSX/")]
    elif path.is_file():
        files = [SourceFile(path)]
    else:
        raise FileNotFoundError(f"{path} does not exist; {ACCEPTED}")
    files = sorted(file for file in files if file.kind and not file.name.startswith("."))
    if not files:
        raise ValueError(f"{path} holds no file that can be read; {ACCEPTED}")
    return files
