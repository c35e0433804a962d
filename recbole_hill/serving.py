"""A finished run, loaded to recommend and to explain, in external ids."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_hill import runs
from recbole_hill.checkpoint import load_weights, set_model_weights
from recbole_hill.config import HillConfig
from recbole_hill.data.splits import Data, load_data, require_same_data
from recbole_hill.index.hierarchy import HierarchicalIndex


@dataclass(frozen=True)
class Served:
    """A model with its data, ready to answer.

    Attributes:
        config: The run's configuration.
        data: The run's data; its train and validation items count as seen.
        model: The model with the weights that the run kept, in evaluation mode.
    """

    config: HillConfig
    data: Data
    model: torch.nn.Module

    @classmethod
    def load(cls, folder: str | Path) -> "Served":
        """Loads a run's folder.

        Raises:
            FileNotFoundError: If it is not a run's folder or the run has not finished.
            ValueError: If the data, the weights or the index are not the run's own.
        """
        from recbole_hill.quick_start import build_model

        folder = Path(folder)
        settings = runs.read_config(folder)
        config = HillConfig(None, None, None, {**settings, "run_dir": str(folder)})
        stage = "adapted" if config["model"] == "HILL" else "backbone"
        weights = folder / f"{stage}.safetensors"
        if not weights.is_file():
            raise FileNotFoundError(
                f"the run in {folder} has not finished; continue it with --resume={folder}"
            )
        data = load_data(config)
        require_same_data(folder, data.sha256)
        model = build_model(config, data)
        set_model_weights(model, load_weights(weights))
        model.eval()
        if (folder / "index.npz").is_file() and hasattr(model, "set_index"):
            from recbole_hill.hill_trainer import item_tokens

            tokens = item_tokens(data.dataset)
            model.set_index(HierarchicalIndex.load(folder / "index.npz", items=tokens))
        return cls(config, data, model)

    def recommend(self, users: list[str], k: int) -> list[list[tuple[str, float]]]:
        """Returns each user's k best unseen items with their scores, best first.

        Args:
            users: External user ids.
            k: Items per user, at least 1.

        Raises:
            ValueError: If a user is unknown or k is less than 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        ids = self._user_ids(users)
        rows, seen = self._seen(ids)
        scores, items = self._search(ids, k, (rows, seen))
        tokens = self.data.dataset.field2id_token[self.data.dataset.iid_field]
        return [
            [(str(tokens[i]), float(s)) for s, i in zip(*pair, strict=True) if i >= 0]
            for pair in zip(scores.tolist(), items.tolist(), strict=True)
        ]

    def explain(self, user: str, k: int) -> str:
        """Returns the user's path through the index as text, coarsest level first.

        At every level: the nodes that a beam search prefers for the user, how many items they
        hold, and the item that represents each; at the end the recommended items with their nodes.

        Raises:
            ValueError: If the run has no index or the user is unknown.
        """
        index = getattr(self.model, "index", None)
        if index is None:
            raise ValueError(f"{self.config['run_dir']} has no index; explain needs a HILL run")
        vectors, items = self.model.vectors()
        user_vector = vectors[self._user_ids([user])[0]]
        lines = [f"user {user}"]
        for depth in range(index.depth, 0, -1):
            scores = self.model.nodes.means(items, depth) @ user_vector
            best = scores.topk(min(k, len(scores)))
            sizes = np.bincount(index.assignments(depth), minlength=len(scores))
            lines.append(f"depth {depth}: {len(scores)} nodes, best for this user")
            for score, node in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                representative = index.items[index.representatives[depth - 1][node]]
                lines.append(
                    f"  node {node:>6}  score {score:8.4f}  {sizes[node]:>6} items, "
                    f"represented by item {representative}"
                )
        lines.append("recommended items and their path, coarsest node first")
        row_of = {token: row for row, token in enumerate(index.items.tolist())}
        for item, score in self.recommend([user], k)[0]:
            path = " > ".join(str(node) for node in reversed(index.path(row_of[item])))
            lines.append(f"  item {item:>8}  score {score:8.4f}  nodes {path}")
        return "\n".join(lines)

    def _search(self, users: Tensor, k: int, seen: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        from recbole_hill.retrieval.exact import ExactRetriever

        if not hasattr(self.model, "vectors"):
            return self._score_all(users, k, seen)
        vectors, items = self.model.vectors()
        if getattr(self.model, "index", None) is not None and self.config["retrieval"] == "beam":
            from recbole_hill.hill_trainer import beam_retriever

            retriever = beam_retriever(self.model, items)
        else:
            retriever = ExactRetriever(items[1:], item_ids=torch.arange(1, len(items)))
        return retriever.search(vectors[users], k, seen)

    @torch.no_grad()
    def _score_all(self, users: Tensor, k: int, seen: tuple[Tensor, Tensor]):
        """For RecBole's own models: every item's score from ``full_sort_predict``."""
        from recbole.data.interaction import Interaction

        from recbole_hill.retrieval.base import top_k

        batch = Interaction({self.data.dataset.uid_field: users}).to(self.config["device"])
        scores = self.model.full_sort_predict(batch).view(len(users), -1).cpu()
        scores[:, 0] = -torch.inf
        scores[seen] = -torch.inf
        values, ids = top_k(scores, k)
        return values, torch.where(values > -torch.inf, ids, -1)

    def _user_ids(self, users: list[str]) -> Tensor:
        dataset = self.data.dataset
        known = dataset.field2token_id[dataset.uid_field]
        for user in users:
            if user not in known or user == "[PAD]":
                raise ValueError(
                    f"user {user!r} is not in {dataset.dataset_name}, which has "
                    f"{dataset.user_num - 1:,} users, such as {list(known)[1]!r}"
                )
        return torch.tensor([known[user] for user in users])

    def _seen(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (rows, item ids) of what the users have in train and validation."""
        loaders = [self.data.train]
        if self.config["protocol"] == "holdout":
            loaders.append(self.data.valid)
        matrices = [loader._dataset.inter_matrix(form="csr")[users.numpy()] for loader in loaders]
        seen = sum(matrices[1:], matrices[0]).tocoo()
        return torch.from_numpy(seen.row).long(), torch.from_numpy(seen.col).long()
