"""A small labelled log with features, in which users like one category of items each."""

from pathlib import Path

import numpy as np

TASKS = {
    "click": {"field": "stars", "at_least": 3, "weight": 1.0},
    "buy": {"field": "stars", "at_least": 5, "weight": 0.5},
}
LOAD = {
    "inter": ["user_id", "item_id", "stars", "place", "timestamp"],
    "user": ["user_id", "kind", "height"],
    "item": ["item_id", "category", "tags", "price", "constant"],
}
N_USERS, N_ITEMS = 60, 48


def write(root: Path, seed: int = 0) -> Path:
    """Writes the dataset ``log`` in RecBole's format and returns the data path."""
    rng = np.random.default_rng(seed)
    folder = root / "log"
    folder.mkdir(parents=True)
    users = ["user_id:token\tkind:token\theight:float\tlikes:token_seq"]
    users += [f"u{u}\tk{u % 4}\t{150 + u % 7}\tc{u % 4} elsewhere" for u in range(N_USERS)]
    items = ["item_id:token\tcategory:token\ttags:token_seq\tprice:float\tconstant:float"]
    for i in range(N_ITEMS):
        tags = f"t{i % 4} t{i % 5 + 4}" if i % 6 else ""
        price = "" if i == 7 else str(i % 9)
        items.append(f"i{i}\tc{i % 4}\t{tags}\t{price}\t1")
    rows = ["user_id:token\titem_id:token\tstars:float\tplace:token\ttimestamp:float"]
    for u in range(N_USERS):
        for i in rng.permutation(N_ITEMS)[:24]:
            liked = (u % 4 == i % 4) ^ (rng.random() < 0.1)
            stars = rng.integers(3, 6) if liked else rng.integers(1, 3)
            rows.append(f"u{u}\ti{i}\t{stars}\tp{rng.integers(3)}\t{rng.integers(1000)}")
    for name, lines in (("user", users), ("item", items), ("inter", rows)):
        (folder / f"log.{name}").write_text("\n".join(lines) + "\n")
    return root


def settings(path: Path, **changes) -> dict:
    """Returns fast settings for a model of the family on the log."""
    return {
        "data_path": str(path),
        "load_col": LOAD,
        "tasks": TASKS,
        "monn_scale": 0.1,
        "embedding_size": 4,
        "epochs": 3,
        "train_batch_size": 128,
        "learning_rate": 0.01,
        "dropout_prob": 0.0,
        "topk": [3, 5],
        "show_progress": False,
        "state": "ERROR",
        "threads": 1,
        **changes,
    }
