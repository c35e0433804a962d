"""A finished run that recommends and explains, with external ids: what every kind of run shares."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recbole_hill.data.titles import read_titles
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.retrieval.widths import require_retrieval
from recbole_hill.run.text import printable


class Lists(NamedTuple):
    """Some users' lists, best first.

    Attributes:
        users: External ids, shape (B,).
        scores: Shape (B, at most k), -inf where a list is shorter.
        items: Item rows, shape (B, at most k), -1 where a list is shorter.
    """

    users: np.ndarray
    scores: np.ndarray
    items: np.ndarray


class ServedRun:
    """A finished run; the items of a user in the run's train and validation sets count as seen.

    A subclass implements :meth:`searched` and the properties below.
    :func:`~recbole_hill.serve.open_run.open_run` chooses it.
    """

    #: The run's folder.
    folder: Path
    #: ``model``, ``dataset``, ``data_sha256``, and ``retrieval``, ``beam_width`` and ``node_score``
    #: as the run's settings have them.
    about: dict
    #: External ids of the users, shape (U,), and of the items, shape (I,).
    user_tokens: np.ndarray
    item_tokens: np.ndarray
    #: User and item vectors, (U, D) and (I, D), whose inner products are the scores; or None.
    arrays: tuple[np.ndarray, np.ndarray] | None
    #: The run's index over its items, as it was saved; None for a run without an index.
    index: HierarchicalIndex | None

    def searched(self, rows: np.ndarray, k: int, **search) -> Iterator[Lists]:
        """Searches block by block for the users' best unseen items.

        Args:
            rows: Users' rows, shape (N,).
            k: Items per user, at least 1.
            **search: ``retrieval``, ``beam_width`` and ``node_score``, see :meth:`recommend`. What
                is not valid is refused before the first block is asked for.
        """
        raise NotImplementedError

    def recommend(
        self,
        users: str | Sequence[str],
        k: int,
        *,
        retrieval: str | None = None,
        beam_width: int | Sequence[int] | str | None = None,
        node_score: str | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Returns each user's k best unseen items with their scores, best first.

        Args:
            users: External user ids, at least one. A string is one user.
            k: Items per user, at least 1. A user with fewer unseen items gets fewer items.
            retrieval: ``exact`` | ``beam`` | ``faiss``; the run's setting if None.
            beam_width: Number of nodes that ``beam`` and ``faiss`` keep per depth (depth 1 is the
                nodes just above the items); the run's setting if None.
            node_score: Score by which nodes are kept, ``mean`` | ``best``; the run's setting if
                None.

        Returns:
            One list per user of pairs (external item id, score).

        Raises:
            ValueError: If there is no user or an unknown user, k is less than 1, or the search is
                unknown, needs an index that the run does not have, or has a width or a node score
                that is not valid or does not apply.
        """
        rows = self.rows_of([users] if isinstance(users, str) else users)
        search = {"retrieval": retrieval, "beam_width": beam_width, "node_score": node_score}
        lists = []
        for block in self.searched(rows, k, **search):
            for pair in zip(block.scores.tolist(), block.items.tolist(), strict=True):
                listed = [(item, score) for score, item in zip(*pair, strict=True) if item >= 0]
                lists.append([(str(self.item_tokens[item]), score) for item, score in listed])
        return lists

    def rows_of(self, users: Sequence[str]) -> np.ndarray:
        """Returns the rows of external user ids, shape (N,).

        Raises:
            ValueError: If there is no user or an unknown user.
        """
        if not len(users):
            raise ValueError("users must name at least one user, got none")
        row_of = {token: row for row, token in enumerate(self.user_tokens.tolist())}
        for user in users:
            if user not in row_of:
                raise ValueError(
                    f"user {str(user)!r} is not in {self.about['dataset']}, which has "
                    f"{len(self.user_tokens):,} users, such as {str(self.user_tokens[0])!r}"
                )
        return np.array([row_of[user] for user in users])

    def explain(self, user: str, k: int) -> str:
        """Returns the user's path through the index as text, coarsest depth first.

        Each depth lists the nodes whose items have the best mean score for the user. For each node
        the text gives the number of its items and its representative item (the member item closest
        to the node). The recommended items and their nodes follow. Items have their titles
        beside them if the run's dataset had titles.

        Args:
            user: External user id.
            k: Number of nodes per depth, and of recommended items.

        Raises:
            ValueError: If the run has no index or no vectors, or the user is unknown.
        """
        if self.index is None or self.arrays is None:
            raise ValueError(
                f"explain needs a run of HILL over a backbone that gives vectors of users and "
                f"items; {self.folder} is a run of {self.about['model']} without them"
            )
        users, items = self.arrays
        user_vector = users[self.rows_of([user])[0]]
        index = self.index.refreshed(items)
        titles = read_titles(self.folder)
        lines = [f"user {printable(user)}"]
        for depth in range(index.depth, 0, -1):
            scores = index.vectors[depth - 1] @ user_vector
            sizes = np.bincount(index.assignments(depth), minlength=len(scores))
            lines.append(f"depth {depth}: {len(scores)} nodes, best for this user")
            for node in np.argsort(-scores, kind="stable")[:k].tolist():
                representative = self.index.items[self.index.representatives[depth - 1][node]]
                title = titles.get(str(representative))
                lines.append(
                    f"  node {node:>6}  score {scores[node]:8.4f}  {sizes[node]:>6} items, "
                    f"represented by item {printable(representative)}"
                    + (f", {printable(title)}" if title else "")
                )
        lines.append("recommended items and their path, coarsest node first")
        row_of = {token: row for row, token in enumerate(index.items.tolist())}
        for item, score in self.recommend([user], k)[0]:
            path = " > ".join(str(node) for node in reversed(index.path(row_of[item])))
            title = f"  {printable(titles[item])}" if item in titles else ""
            lines.append(f"  item {printable(item):>8}  score {score:8.4f}  nodes {path}{title}")
        return "\n".join(lines)

    def search_named(
        self, retrieval: str | None, beam_width, node_score: str | None
    ) -> tuple[str, dict]:
        """Returns the search by vectors that is asked for, and what was given of its settings.

        Raises:
            ValueError: As :meth:`recommend`.
        """
        name = retrieval or self.about["retrieval"]
        require_retrieval(name)
        given = {"beam_width": beam_width, "node_score": node_score}
        given = {key: value for key, value in given.items() if value is not None}
        if name != "exact" and self.index is None:
            raise ValueError(
                f"retrieval {name} needs an index, which the run in {self.folder} does not have; "
                f"accepted is exact"
            )
        if name == "exact" and given:
            key, value = next(iter(given.items()))
            raise ValueError(f"{key} is for retrieval beam and faiss, got {value} with exact")
        own = {key: self.about[key] for key in ("beam_width", "node_score")}
        return name, {} if name == "exact" else {**own, **given}


def require_length(k: int) -> None:
    """Refuses lists without items.

    Raises:
        ValueError: If k is less than 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
