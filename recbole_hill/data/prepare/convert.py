"""The command ``prepare``: chooses the converter for a dataset's files."""

from pathlib import Path

from recbole_hill.data.prepare import kuairand, lightgcn
from recbole_hill.data.prepare.own import Prepared, prepare_interactions
from recbole_hill.data.prepare.prepared import dataset_settings


def prepare(
    name: str,
    source: str | Path,
    output: str | Path = "dataset",
    *,
    force: bool = False,
    **options,
) -> lightgcn.Manifest | kuairand.Manifest | Prepared:
    """Converts a dataset's original files into ``output/name/``, ready for RecBole.

    ``properties/dataset/name.yaml`` may have a block ``lightgcn`` or ``kuairand``, which chooses
    the converter. For other names the files choose: KuaiRand's, LightGCN's ``train.txt`` and
    ``test.txt``, or interactions in any other form.

    Args:
        name: The dataset's name.
        source: A folder with the original files; for interactions also a file.
        output: RecBole's ``data_path``.
        force: Whether to write even if the same data, or other data of this name, are in place.
        **options: ``user``, ``item``, ``time``, ``rating``, ``min_rating`` and ``core`` of
            `prepare_interactions`; None is as if not given.

    Returns:
        What is in place now, to be printed.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or is not the file that the name promises, or an option
            is given for files of a fixed form.
    """
    settings = dataset_settings(name)
    if "kuairand" in settings or (not settings and kuairand.is_source(source)):
        converter = kuairand
    elif "lightgcn" in settings or _is_split(Path(source)):
        converter = lightgcn
    else:
        return prepare_interactions(source, name, output, force=force, **options)
    if given := [key for key, value in options.items() if value is not None]:
        form = converter.__name__.rpartition(".")[2]
        raise ValueError(
            f"--{given[0]} is for interactions in a form of your own: files of {name!r} have "
            f"the form of {form}, which has no such choice"
        )
    if "lightgcn" in settings and not Path(source).is_dir():
        raise ValueError(
            f"the name {name!r} is of LightGCN's split, a folder with train.txt and test.txt, and "
            f"{source} is no folder; for other data choose another name"
        )
    return converter.prepare(name, source, output, force=force)


def _is_split(source: Path) -> bool:
    """Returns whether a folder holds a file of LightGCN's form."""
    names = [f"{split}.txt{end}" for split in lightgcn.SPLITS for end in ("", ".gz")]
    return any((source / name).is_file() for name in names)
