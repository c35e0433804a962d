"""The command ``prepare``: chooses the converter for a dataset's files."""

from pathlib import Path

from recbole_hill.data.prepare import kuairand, lightgcn
from recbole_hill.data.prepare.prepared import dataset_settings


def prepare(
    name: str, source: str | Path, output: str | Path = "dataset", *, force: bool = False
) -> lightgcn.Manifest | kuairand.Manifest:
    """Converts a dataset's original files into ``output/name/``, ready for RecBole.

    ``properties/dataset/name.yaml`` has a block ``lightgcn`` or ``kuairand``, which chooses the
    converter. For a name without a YAML file, the files in the folder choose.

    Args:
        name: The dataset's name.
        source: Folder with the original files.
        output: RecBole's ``data_path``.
        force: Whether to write even if the same data, or other data of this name, are in place.

    Returns:
        The manifest of the converted data, to be printed.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or is not the file that the name promises.
    """
    settings = dataset_settings(name)
    of_kuairand = "kuairand" in settings if settings else kuairand.is_source(source)
    converter = kuairand if of_kuairand else lightgcn
    return converter.prepare(name, source, output, force=force)
