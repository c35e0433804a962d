"""A finished run that is served by its model, which RecBole builds again from the run's data."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_hill.host.memory import keep_freed_memory
from recbole_hill.labelled.model import LabelledModel
from recbole_hill.labelled.search import NetworkSearch
from recbole_hill.model.finished import FinishedRun
from recbole_hill.retrieval.base import BLOCK_ENTRIES, Retriever, top_k
from recbole_hill.retrieval.choose import choose_retriever
from recbole_hill.retrieval.vector_search import VectorSearch
from recbole_hill.run.folder import STREAM
from recbole_hill.serve.histories import Histories
from recbole_hill.serve.served_run import Lists, ServedRun, require_length
from recbole_hill.serve.snapshot import read_snapshot

#: A search for users given by vectors (``Retriever``) or by user ids.
Search = Retriever | NetworkSearch | VectorSearch
#: Number of users whose lists are made at once.
_USERS_AT_ONCE = 1024


class LoadedRun(FinishedRun, ServedRun):
    """A finished run with its model and data."""

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

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.config["run_dir"])

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray] | None:
        """User and item vectors without padding, (U, D) and (I, D); None if the model has none."""
        if self.vectors is None:
            return None
        return tuple(part.cpu().float().numpy()[1:] for part in self.vectors)

    def searched(
        self, rows, k, *, retrieval=None, beam_width=None, node_score=None
    ) -> Iterator[Lists]:
        """Searches for the users' best unseen items; see :class:`ServedRun`."""
        retriever = self.retriever(retrieval, beam_width, node_score)
        blocks = self.search(torch.from_numpy(rows) + 1, k, retriever)
        return (
            Lists(
                self.user_tokens[users.numpy() - 1],
                scores.numpy(),
                torch.where(items > 0, items - 1, -1).numpy(),
            )
            for users, scores, items in blocks
        )

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
        require_length(k)
        k = min(k, len(self.item_tokens))  # longer lists would only be padded
        block = max(1, min(_USERS_AT_ONCE, BLOCK_ENTRIES // len(self.item_tokens)))
        return (self._search_block(part, k, retriever) for part in users.split(block))

    def retriever(
        self,
        retrieval: str | None = None,
        beam_width: int | Sequence[int] | str | None = None,
        node_score: str | None = None,
    ) -> Search | None:
        """Returns the search that makes the lists; None if the model's scores are not of vectors.

        A model of labelled impressions has its own search: HSNN descends its layers, EBR its nodes.
        With ``exact``, this search keeps every node.

        Args:
            retrieval, beam_width, node_score: See :meth:`ServedRun.recommend`.

        Raises:
            ValueError: As :meth:`ServedRun.recommend`; and if the model's vectors are not finite.
        """
        if isinstance(self.model, LabelledModel):
            name = retrieval or "own"
            if name not in ("own", "exact") or beam_width is not None or node_score is not None:
                raise ValueError(
                    f"{self.config['model']} is served by its own search, as wide as its settings "
                    f"say; accepted is retrieval exact or none"
                )
            return self.model.searcher(full=name == "exact")
        name, settings = self.search_named(retrieval, beam_width, node_score)
        if self.vectors is None:
            return None
        return choose_retriever(name, self.vectors[1], self.index, **settings)

    def _search_block(
        self, users: Tensor, k: int, retriever: Search | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        seen = self.seen(users)
        if retriever is None:
            lists = self._score_all(users, k, seen)
        elif isinstance(retriever, NetworkSearch | VectorSearch):
            lists = retriever.search(users, k, seen)
        else:
            lists = retriever.search(self.vectors[0][users], k, seen)
        return users, *self._by_popularity(users, seen, *(part.cpu() for part in lists))

    def _by_popularity(self, users: Tensor, seen: tuple[Tensor, Tensor], scores: Tensor, ids):
        """Replaces the lists of users without a train item, as the run's evaluation did."""
        if self.popularity is None or not bool((cold := self.popularity.cold[users]).any()):
            return scores, ids
        everything = self.popularity.scores.repeat(len(users), 1)
        everything[seen] = -torch.inf
        best, items = top_k(everything[cold], scores.shape[1])
        width = best.shape[1]
        scores[cold, :width] = best
        ids[cold, :width] = torch.where(best > -torch.inf, items, -1)
        return scores, ids

    @torch.no_grad()
    def _score_all(self, users: Tensor, k: int, seen: tuple[Tensor, Tensor]):
        """Returns the best items by ``full_sort_predict``, for models without vectors."""
        if self.histories is None:
            batch = Interaction({self.data.dataset.uid_field: users})
        else:
            batch = self.histories.of(users)
        scores = self.model.full_sort_predict(batch.to(self.config["device"]))
        scores = scores.view(len(users), -1).cpu()
        if bool(scores.isnan().any()):
            raise ValueError(f"{self.config['model']} gives scores that are no numbers")
        scores[:, 0] = -torch.inf
        scores[seen] = -torch.inf
        values, ids = top_k(scores, k)
        return values, torch.where(values > -torch.inf, ids, -1)

    @cached_property
    def histories(self) -> Histories | None:
        """What a sequential model reads of each user; None for another model."""
        return Histories.of_data(self.data) if self.is_sequential else None

    def seen(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (rows, item ids) of the users' items in train and validation."""
        seen = self._seen[users.numpy()].tocoo()
        return torch.from_numpy(seen.row).long(), torch.from_numpy(seen.col).long()

    @cached_property
    def _seen(self):
        return self.seen_matrix() if self.histories is None else self.histories.items()
