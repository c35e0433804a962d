"""The working folder that the cases start from: two small datasets, finished runs, and pickles.

source/, dataset/tiny, dataset/log    interactions, and labelled impressions
base-<model>.yaml                     settings of a run that takes a second
runs/<model>, runs/stream, exported   finished
studies/, sweep/                      finished, if asked for
saved/*.pth, dataset/**/*.pth         pickles where RecBole would open one, which touch a file
"""

import pickle
import shutil
from pathlib import Path

import impressions
from conftest import tiny_settings
from harness import Servers

from recbole_hill.config.dialect import dump_settings

#: Models with their datasets; a run of each takes a second.
DATASETS = {"BPR": "tiny", "HILL": "tiny", "Pop": "tiny", "EASE": "tiny", "LightGCN": "tiny"}
DATASETS |= {"HSNN": "log", "MoNN": "log"}
#: The models with a finished run.
FINISHED = ("BPR", "HILL", "HSNN")
_OWN = {
    "BPR": {"n_negatives": 4, "init_std": 0.1},
    "HSNN": {"hsnn_layers": [{"size": "S", "nodes": 6}, {"size": "XS"}], "item_epochs": 1},
    "MoNN": {"epochs": 1},
}


def base_settings(model: str) -> dict:
    """Returns the settings of ``base-<model>.yaml``."""
    data, own = Path("dataset"), {"epochs": 2, **_OWN.get(model, {})}
    if DATASETS[model] == "log":
        return impressions.settings(data, ranking_users=5, **{"topk": [5, 20], **own})
    own = own if model not in ("Pop", "EASE") else {}
    return tiny_settings(data, model, threads=1, **own)


def run_command(model: str, *more: str) -> list[str]:
    """Returns the command line of a run with the model's base settings."""
    names = [f"--model={model}", f"--dataset={DATASETS[model]}"]
    return [*names, f"--config_files=base-{model}.yaml", *more]


def study_command() -> list[str]:
    """Returns the command line of a study of two cells."""
    settings = base_settings("BPR") | {"topk": [10, 20], "valid_metric": "NDCG@20"}
    for key in ("threads", "n_negatives", "init_std"):  # Pop has none
        settings.pop(key)
    given = [f"--{key}={value}" for key, value in settings.items()]
    return ["table", "3", "--dataset=tiny", "--models=Pop,BPR", *given]


def sweep_command(folder: str) -> list[str]:
    """Returns the command line of a sweep of two trials."""
    start = ["sweep", *run_command("BPR"), "--space=space.yaml", "--strategy=grid"]
    return [*start, f"--output={folder}"]


def stream_command(folder: str) -> list[str]:
    """Returns the command line of a stream of three slices."""
    return ["stream", *run_command("HSNN", f"--run_dir={folder}"), "--slices=3", "--epochs=1"]


def make(
    servers: Servers,
    place: Path,
    tiny_path: Path,
    *,
    finished: tuple[str, ...] = FINISHED,
    studies: bool = False,
) -> Path:
    """Makes the working folder ``place/work``.

    Args:
        servers: Where the runs are made.
        place: A new folder.
        tiny_path: The data path of the dataset ``tiny``.
        finished: The models to make a run of; HSNN's stream comes with it.
        studies: Whether to make a study and a sweep, too, which takes half a minute.
    """
    work = place / "work"
    shutil.copytree(tiny_path, work / "dataset")
    shutil.copytree(tiny_path.parent, work / "source", ignore=lambda *_: ["dataset"])
    impressions.write(work / "dataset")
    for model in DATASETS:
        (work / f"base-{model}.yaml").write_text(dump_settings(base_settings(model)))
    (work / "space.yaml").write_text("learning_rate: {choice: [0.02, 0.01]}\n")
    plant_pickles(work, place / "owned")
    commands = [run_command(model, f"--run_dir=runs/{model}") for model in finished]
    commands += [stream_command("runs/stream")] if "HSNN" in finished else []
    commands += [["export", "--checkpoint=runs/HILL", "--output=exported", "--k=5"]]
    if studies:
        commands += [study_command(), sweep_command("sweep")]
    for command in commands:
        ended = servers.run(command, place, limit=300)
        assert ended.status == 0, (command, ended)
    return work


def plant_pickles(work: Path, owned: Path) -> None:
    """Writes pickles under the names that RecBole reads; to read one makes the file ``owned``."""
    payload = pickle.dumps(_Touch(str(owned)))
    names = [f"{dataset}-for-{model}-dataloader.pth" for model, dataset in DATASETS.items()]
    names += ["tiny-Dataset.pth", "log-Dataset.pth", "tiny-dataset.pth", "log-dataset.pth"]
    for folder in ("saved", "dataset", "dataset/tiny", "dataset/log", "."):
        (work / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            (work / folder / name).write_bytes(payload)


class _Touch:
    """What a pickle of it does when it is read: it makes a file."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")
