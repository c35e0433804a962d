"""What a model needs of the data beyond <user, item> pairs: times, labels or a knowledge graph."""

from pathlib import Path

from recbole.utils import ModelType

from recbole_hill.data.tasks import Task, tasks_of


def require_features(config) -> None:
    """Refuses a model if the dataset lacks the features that it needs, before anything is loaded.

    Args:
        config: RecBole's Config.

    Raises:
        FileNotFoundError: If a knowledge-aware model has no knowledge graph.
        ValueError: If a sequential model has no times, or a context-aware model has no labels. The
            message names the model, the missing column and the columns of the file.
    """
    kind, model, dataset = config["MODEL_TYPE"], config["model"], config["dataset"]
    if config["reads_features"] or config["tasks"]:  # of other models load_col is RecBole's default
        for part in ("inter", "user", "item"):
            _require_known(config, part)
    if kind == ModelType.KNOWLEDGE:
        for part in ("kg", "link"):
            file = Path(config["data_path"], f"{dataset}.{part}")
            if not file.is_file():
                raise FileNotFoundError(
                    f"{model} needs a knowledge graph, which {dataset} lacks: {file} does not exist"
                )
            if part not in (config["load_col"] or {part: None}):
                raise ValueError(f"{model} needs a knowledge graph, which load_col leaves out")
    elif kind == ModelType.SEQUENTIAL:
        _require_column(config, "TIME_FIELD", config["TIME_FIELD"], "the time of every interaction")
    elif tasks := tasks_of(config):
        for task in tasks:
            _require_column(config, f"tasks: {task.name}: field", task.field, "the labels' columns")
        _require_free_names(config, tasks)
    elif config["reads_features"]:
        raise ValueError(
            f"{model} needs labels, and properties/features/ has no {dataset}.yaml: set tasks, "
            f"such as --tasks=\"{{'click': {{'field': 'rating', 'at_least': 4}}}}\", and load_col"
        )
    elif kind in (ModelType.CONTEXT, ModelType.DECISIONTREE) and not config["threshold"]:
        _require_column(
            config, "LABEL_FIELD", config["LABEL_FIELD"], "a label of every interaction"
        )


def _require_column(config, key: str, column: str, what: str) -> None:
    columns = _columns(config)
    if column not in columns:
        raise ValueError(
            f"{config['model']} needs {what}: {key} {column!r} is not among the columns that "
            f"are read of {config['dataset']}.inter, {', '.join(columns)} (see load_col)"
        )


def _require_free_names(config, tasks: tuple[Task, ...]) -> None:
    """Refuses a task with the name of another column that is read: its labels would replace it."""
    ids = config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]
    for part in ("inter", "user", "item"):
        columns = [*ids, *(_columns(config, part) if _path(config, part).is_file() else ())]
        for task in tasks:
            own = part == "inter" and task.name == task.field and task.name not in ids
            if task.name in columns and not own:
                raise ValueError(
                    f"task {task.name}: its name is that of a column of {config['dataset']}.{part} "
                    f"that is read; name it otherwise, or leave the column out (load_col)"
                )


def _require_known(config, part: str) -> None:
    """Refuses a column of ``load_col`` that its file lacks; RecBole would ignore the column."""
    wanted = (config["load_col"] or {}).get(part)
    if not isinstance(wanted, list) or not wanted:
        return
    file, columns = _header(config, part)
    for column in wanted:
        if column not in columns:
            raise ValueError(
                f"load_col: {part}: {column!r} is no column of {file.name}, which has "
                f"{', '.join(columns)}"
            )


def _columns(config, part: str = "inter") -> list[str]:
    """Returns the columns that RecBole reads of a file, according to load_col and unload_col."""
    wanted = {part: "*"} if config["load_col"] is None else config["load_col"]
    if part not in wanted:
        return []
    left_out = (config["unload_col"] or {}).get(part, ())
    return [
        column
        for column in _header(config, part)[1]
        if (wanted[part] == "*" or column in wanted[part]) and column not in left_out
    ]


def _header(config, part: str) -> tuple[Path, list[str]]:
    """Returns a file of the dataset (``inter``, ``user`` or ``item``) and its columns."""
    file = _path(config, part)
    if not file.is_file():
        raise FileNotFoundError(f"load_col names columns of {part}, but {file} does not exist")
    with file.open(encoding=config["encoding"]) as lines:
        header = lines.readline().rstrip("\n")
    return file, [column.split(":")[0] for column in header.split(config["field_separator"])]


def _path(config, part: str) -> Path:
    cut = (config["benchmark_filename"] or [None])[0] if part == "inter" else None
    return Path(config["data_path"], ".".join(filter(None, (config["dataset"], cut, part))))
