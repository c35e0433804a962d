"""A finished run, loaded to recommend and to explain recommendations, with external ids."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hill.host.memory import keep_freed_memory
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.labelled.model import LabelledModel
from recbole_hill.labelled.search import NetworkSearch, VectorSearch
from recbole_hill.model.finished import FinishedRun
from recbole_hill.model.hill import HILL
from recbole_hill.model.settings import HillSettings
from recbole_hill.retrieval.base import BLOCK_ENTRIES, Retriever, top_k
from recbole_hill.retrieval.choose import choose_retriever, require_retrieval
from recbole_hill.run.folder import STREAM
from recbole_hill.serve.snapshot import read_snapshot

#: A search for users given by vectors (``Retriever``) or by user ids.
Search = Retriever | NetworkSearch | VectorSearch
#: Number of users whose lists are made at once.
_USERS_AT_ONCE = 1024


class LoadedRun(FinishedRun):
    """A finished run, ready to recommend and to explain recommendations.

    The items of a user in the run's train and validation sets count as seen.
    """

    @classmethod
    def load(cls, folder: str | Path, snapshot: int | None = None) -> "LoadedRun":
        """Loads a run's folder; for a stream's folder, loads the snapshot after a slice.

        Args:
            folder: Folder of the run or of the stream.
            snapshot: Number of the stream's slice, from 0; None loads the last finished slice.

        Raises:
            FileNotFoundError: If the folder is not a run's folder, or the run or the slice has not
                finished.
            ValueError: If the data, the weights or the index are not those of the run, or a
                snapshot is requested of a run that is not a stream.
        """
        if (Path(folder) / STREAM).is_file():
            keep_freed_memory()
            return cls(*read_snapshot(Path(folder), snapshot))
        if snapshot is not None:
            raise ValueError(f"{folder} is no stream's folder, so that it has no snapshots")
        return super().load(folder)

    def recommend(
        self,
        users: str | Sequence[str],
        k: int,
        *,
        retrieval: str | None = None,
        beam_width: int | Sequence[int] | None = None,
        node_score: str | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Returns each user's k best unseen items with their scores, best first.

        Args:
            users: External user ids, at least one. A string is one user.
            k: Items per user, at least 1. A user with fewer unseen items gets fewer items.
            retrieval, beam_width, node_score: See :meth:`retriever`.

        Returns:
            One list per user of pairs (external item id, score).

        Raises:
            ValueError: If there is no user or an unknown user, k is less than 1, or
                :meth:`retriever` raises.
        """
        lists = []
        retriever = self.retriever(retrieval, beam_width, node_score)
        users = [users] if isinstance(users, str) else users
        for _, scores, items in self.search(self.user_ids(users), k, retriever):
            for pair in zip(scores.tolist(), items.tolist(), strict=True):
                listed = [(item, score) for score, item in zip(*pair, strict=True) if item >= 0]
                lists.append([(str(self.item_tokens[item - 1]), score) for item, score in listed])
        return lists

    def search(
        self, users: Tensor, k: int, retriever: Search | None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Searches block by block for the users' best unseen items.

        Args:
            users: RecBole's user ids, shape (N,).
            k: Items per user, at least 1.
            retriever: Search that :meth:`retriever` returned; None scores every item by the model.

        Returns:
            An iterator over user ids (B,), scores (B, at most k) and RecBole's item ids (B, at most
            k). Scores and item ids are ordered and padded as by
            :meth:`recbole_hill.retrieval.base.Retriever.search`.

        Raises:
            ValueError: If k is less than 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        block = max(1, min(_USERS_AT_ONCE, BLOCK_ENTRIES // len(self.item_tokens)))
        return (self._search_block(part, k, retriever) for part in users.split(block))

    def retriever(
        self,
        retrieval: str | None = None,
        beam_width: int | Sequence[int] | None = None,
        node_score: str | None = None,
    ) -> Search | None:
        """Returns the search that makes the lists; None if the model's scores are not of vectors.

        A model of labelled impressions has its own search: HSNN descends its layers, EBR its nodes.
        With ``exact``, this search keeps every node.

        Args:
            retrieval: ``exact`` | ``beam`` | ``faiss``; the run's setting if None.
            beam_width: Number of nodes that ``beam`` and ``faiss`` keep per depth (depth 1 is the
                nodes just above the items); the run's setting if None.
            node_score: Score by which nodes are kept, ``mean`` | ``best``; the run's setting if
                None.

        Raises:
            ValueError: If the search is unknown or needs an index that the run does not have, if
                the width or the node score is not valid or does not apply, or if the model's
                vectors are not finite.
        """
        name = retrieval or self.retrieval
        given = {"beam_width": beam_width, "node_score": node_score}
        given = {key: value for key, value in given.items() if value is not None}
        if isinstance(self.model, LabelledModel):
            if name not in ("own", "exact") or given:
                raise ValueError(
                    f"{self.config['model']} is served by its own search, as wide as its settings "
                    f"say; accepted is retrieval exact or none"
                )
            return self.model.searcher(full=name == "exact")
        require_retrieval(name)
        if name != "exact" and self.index is None:
            raise ValueError(
                f"retrieval {name} needs an index, which the run in {self.config['run_dir']} does "
                f"not have; accepted is exact"
            )
        if name == "exact" and given:
            key, value = next(iter(given.items()))
            raise ValueError(f"{key} is for retrieval beam and faiss, got {value} with exact")
        if self.vectors is None:
            return None
        if self.settings is None:
            return choose_retriever(name, self.vectors[1])
        keys = "beam_width", "node_score"
        own = {key: getattr(self.settings, key) for key in keys}
        return choose_retriever(name, self.vectors[1], self.index, **{**own, **given})

    @property
    def settings(self) -> HillSettings | None:
        """HILL's settings; None for every other model."""
        return self.model.settings if isinstance(self.model, HILL) else None

    @property
    def retrieval(self) -> str:
        """The search of the run: ``exact`` | ``beam`` | ``faiss`` | ``own`` (the model's own)."""
        if isinstance(self.model, LabelledModel):
            return "own"
        return "exact" if self.settings is None else self.settings.retrieval

    @property
    def index(self) -> HierarchicalIndex | None:
        """The run's index over its items, as it was saved; None for a run without an index."""
        return getattr(self.model, "index", None)

    def user_ids(self, users: Sequence[str]) -> Tensor:
        """Returns RecBole's ids of external user ids, shape (N,).

        Raises:
            ValueError: If there is no user or an unknown user.
        """
        if not len(users):
            raise ValueError("users must name at least one user, got none")
        dataset = self.data.dataset
        known = dataset.field2token_id[dataset.uid_field]
        for user in users:
            if user not in known or user == "[PAD]":
                raise ValueError(
                    f"user {str(user)!r} is not in {dataset.dataset_name}, which has "
                    f"{dataset.user_num - 1:,} users, such as {str(list(known)[1])!r}"
                )
        return torch.tensor([known[user] for user in users])

    def explain(self, user: str, k: int) -> str:
        """Returns the user's path through the index as text, coarsest depth first.

        Each depth lists the nodes whose items have the best mean score for the user. For each node
        the text gives the number of its items and its representative item (the member item closest
        to the node). The recommended items and their nodes follow.

        Args:
            user: External user id.
            k: Number of nodes per depth, and of recommended items.

        Raises:
            ValueError: If the run has no index or the user is unknown.
        """
        index = self.index
        if index is None or self.vectors is None:
            raise ValueError(f"{self.config['run_dir']} is no HILL run, which explain needs")
        vectors, items = self.vectors
        user_vector = vectors[self.user_ids([user])[0]]
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

    def _search_block(
        self, users: Tensor, k: int, retriever: Search | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        seen = self.seen(users)
        if retriever is None:
            return users, *self._score_all(users, k, seen)
        if isinstance(retriever, NetworkSearch | VectorSearch):
            return users, *(part.cpu() for part in retriever.search(users, k, seen))
        lists = retriever.search(self.vectors[0][users], k, seen)
        return users, *(part.cpu() for part in lists)

    @torch.no_grad()
    def _score_all(self, users: Tensor, k: int, seen: tuple[Tensor, Tensor]):
        """Returns the best items by ``full_sort_predict``, for models without vectors."""
        batch = Interaction({self.data.dataset.uid_field: users}).to(self.config["device"])
        scores = self.model.full_sort_predict(batch).view(len(users), -1).cpu()
        if bool(scores.isnan().any()):
            raise ValueError(f"{self.config['model']} gives scores that are no numbers")
        scores[:, 0] = -torch.inf
        scores[seen] = -torch.inf
        values, ids = top_k(scores, k)
        return values, torch.where(values > -torch.inf, ids, -1)

    def seen(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (rows, item ids) of the users' items in train and validation."""
        loaders = [self.data.train]
        if self.config["protocol"] == "holdout":
            loaders.append(self.data.valid)
        matrices = [loader._dataset.inter_matrix(form="csr")[users.numpy()] for loader in loaders]
        seen = sum(matrices[1:], matrices[0]).tocoo()
        return torch.from_numpy(seen.row).long(), torch.from_numpy(seen.col).long()
