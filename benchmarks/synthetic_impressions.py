"""A generated log of labelled impressions of any size, whose true click probability is known.

The truth has two parts. The first is a comparison that no short dot product expresses. A user
engages with few of the 300 categories. The user likes an item of such a category if its price band
is the user's own, and dislikes it otherwise. The number of an item's tags that are among the user's
tags counts, the second less than the first; it counts for the item if the item's format is the
user's, and against it otherwise. Which categories are a user's is a matrix of full rank, so no two
vectors of 40 numbers have it as their product. One feature that compares the two sides, such as an
inverted index finds, does express it. The second part can be learnt by a dot product: an affinity
of rank 12, qualities of items and habits of users.

    python benchmarks/synthetic_impressions.py --output=dataset/impressions

writes RecBole's atomic files. It prints the base rates, the normalised entropy (NE) of the truth,
which is the least that any model can reach, and the NE of dot products that were told the truth.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from recbole_hill.run.files import atomic_path

#: Number of impressions that one random generator draws.
BLOCK = 1 << 16
#: Length of the log in seconds (28 days), and the share of the items that exist at its start.
SPAN, OLD = 28 * 86_400.0, 0.5
#: The items' tree: a category belongs to a topic. Tags have kinds, and an item has one of each.
TOPICS, CATEGORIES, BANDS, FORMATS = 20, 300, 4, 3
TAG_KINDS, TAGS_PER_KIND, TAGS_OF_CATEGORY = 3, 200, 7
#: Numbers of segments, and of a user's liked categories and tags. A segment shares its tastes.
SEGMENTS, LIKED_CATEGORIES, LIKED_TAGS = 50, 16, 40
#: Dimensions of the affinity; standard deviations that affinity, items and users add to the logit.
RANK, AFFINITY, QUALITY, HABIT = 12, 0.7, 0.5, 0.3
#: Terms of the logit. For an item of a liked category: with the user's own price band, and with
#: another. For infinitely many liked tags: in the user's own format, and in another.
CATEGORY_OWN, CATEGORY_OTHER, TAGS_OWN, TAGS_OTHER = 4.0, -2.0, 2.0, -1.0
#: Constant terms of the click's and the conversion's logit; conversions' for the own price band.
BASE, CONVERSION, CONVERSION_OWN = -2.2, -2.5, 1.0
#: Exponent of the categories' sizes by rank; spreads of log popularity and log activity.
ZIPF, POPULARITY, ACTIVITY = 0.7, 1.0, 0.8
#: Share of the impressions drawn from the user's categories; the others are drawn by popularity.
TARGETED = 0.6


@dataclass(frozen=True)
class Items:
    """Items in order of birth; all arrays have length I.

    Attributes:
        categories: Category.
        bands: Price band.
        formats: Format.
        tags: Tags, (I, TAG_KINDS).
        vectors: Vectors of the affinity, (I, RANK).
        quality: Term added to the logit.
        popularity: Weight with which the item is shown.
        births: Second of the log from which on the item may be shown.
    """

    categories: np.ndarray
    bands: np.ndarray
    formats: np.ndarray
    tags: np.ndarray
    vectors: np.ndarray
    quality: np.ndarray
    popularity: np.ndarray
    births: np.ndarray


@dataclass(frozen=True)
class Users:
    """Users; all arrays have length U.

    Attributes:
        segments: Segment.
        categories: The liked categories, sorted, (U, LIKED_CATEGORIES).
        likes_category: The same as a matrix, (U, CATEGORIES), bool.
        likes_tag: Liked tags, (U, TAG_KINDS * TAGS_PER_KIND), bool.
        bands: The user's own price band.
        formats: The user's own format.
        vectors: Vectors of the affinity, (U, RANK).
        habit: Term added to the logit.
        activity: Weight with which the user is shown items.
    """

    segments: np.ndarray
    categories: np.ndarray
    likes_category: np.ndarray
    likes_tag: np.ndarray
    bands: np.ndarray
    formats: np.ndarray
    vectors: np.ndarray
    habit: np.ndarray
    activity: np.ndarray


@dataclass(frozen=True)
class Rows:
    """Impressions in time order; all arrays have length N.

    Attributes:
        users: User.
        items: Item.
        times: Second of the log.
        clicks: 0 or 1.
        conversions: 0 or 1; 1 only if the click is 1.
        chances: True probability of the click.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    clicks: np.ndarray
    conversions: np.ndarray
    chances: np.ndarray


class Shelf:
    """Items in groups; items that are born by a time are drawn by popularity."""

    def __init__(self, groups: np.ndarray, items: Items):
        ages = items.births / SPAN  # in [0, 1), so that group + age sorts by group, then birth
        self._order = np.lexsort((ages, groups))
        self._keys = (groups + ages)[self._order]
        self._total = np.concatenate([[0.0], np.cumsum(items.popularity[self._order])])

    def draw(self, groups: np.ndarray, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns an item of each group that is born by its time; -1 if there is none."""
        start = np.searchsorted(self._keys, groups)
        end = np.searchsorted(self._keys, groups + times / SPAN, side="right")
        low, high = self._total[start], self._total[end]
        aims = low + rng.random(len(groups)) * (high - low)
        places = np.searchsorted(self._total, aims, side="right") - 1
        return np.where(end > start, self._order[np.clip(places, 0, np.maximum(end - 1, 0))], -1)


@dataclass(frozen=True)
class Log:
    """Impressions, items and users, drawn when they are used; the same for the same attributes.

    Attributes:
        n_rows: Number of impressions, N.
        n_items: I.
        n_users: U.
        seed: Seed of all draws.
    """

    n_rows: int = 1_000_000
    n_items: int = 100_000
    n_users: int = 20_000
    seed: int = 0

    def __post_init__(self):
        for name in ("n_rows", "n_items", "n_users"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @cached_property
    def topics(self) -> np.ndarray:
        """Topic of each category."""
        return self._rng(0).permutation(np.arange(CATEGORIES) % TOPICS)

    @cached_property
    def _shares(self) -> np.ndarray:
        """Share of each category among the items: Zipf's law over shuffled ranks."""
        sizes = self._rng(1).permutation((np.arange(CATEGORIES) + 1.0) ** -ZIPF)
        return sizes / sizes.sum()

    @cached_property
    def _tastes(self) -> np.ndarray:
        """Vectors of the categories' affinity, near their topics' vectors, (CATEGORIES, RANK)."""
        rng = self._rng(2)
        of_topic = rng.normal(size=(TOPICS, RANK))[self.topics]
        return np.sqrt(0.7) * of_topic + np.sqrt(0.3) * rng.normal(size=(CATEGORIES, RANK))

    @cached_property
    def _tag_pools(self) -> np.ndarray:
        """The usual tags of a category's items, (CATEGORIES, TAG_KINDS, TAGS_OF_CATEGORY)."""
        shape = (CATEGORIES, TAG_KINDS, TAGS_OF_CATEGORY)
        return self._rng(3).integers(TAGS_PER_KIND, size=shape) + _kinds()[:, None]

    @cached_property
    def items(self) -> Items:
        """All items."""
        n, rng = self.n_items, self._rng(4)
        categories = rng.choice(CATEGORIES, size=n, p=self._shares)
        usual = np.take_along_axis(
            self._tag_pools[categories], rng.integers(TAGS_OF_CATEGORY, size=(n, TAG_KINDS, 1)), 2
        )[:, :, 0]
        unusual = rng.integers(TAGS_PER_KIND, size=(n, TAG_KINDS)) + _kinds()
        own = rng.normal(size=(n, RANK))
        births = np.sort(rng.random(n) * SPAN * (rng.random(n) >= OLD))
        births[0] = 0.0  # so that an item can be shown from the start
        return Items(
            categories=categories,
            bands=rng.integers(BANDS, size=n),
            formats=rng.integers(FORMATS, size=n),
            tags=np.where(rng.random((n, TAG_KINDS)) < 0.7, usual, unusual),
            vectors=np.sqrt(0.8) * self._tastes[categories] + np.sqrt(0.2) * own,
            quality=QUALITY * rng.normal(size=n),
            popularity=np.exp(POPULARITY * rng.normal(size=n)),
            births=_tenths(births),
        )

    @cached_property
    def users(self) -> Users:
        """All users."""
        n, rng = self.n_users, self._rng(5)
        segments = rng.integers(SEGMENTS, size=n)
        of_segment = rng.normal(size=(SEGMENTS, RANK))[segments]
        vectors = np.sqrt(0.6) * of_segment + np.sqrt(0.4) * rng.normal(size=(n, RANK))
        # Taking the largest keys with Gumbel noise draws by these weights without replacement.
        keys = vectors @ self._tastes.T / np.sqrt(RANK) + 0.5 * np.log(self._shares)
        keys += rng.gumbel(size=keys.shape)
        categories = np.sort(np.argpartition(-keys, LIKED_CATEGORIES)[:, :LIKED_CATEGORIES])
        likes_category = np.zeros((n, CATEGORIES), dtype=bool)
        np.put_along_axis(likes_category, categories, True, 1)
        of = np.take_along_axis(
            categories, rng.integers(LIKED_CATEGORIES, size=(n, LIKED_TAGS)), axis=1
        )
        kinds = rng.integers(TAG_KINDS, size=of.shape)
        likes_tag = np.zeros((n, TAG_KINDS * TAGS_PER_KIND), dtype=bool)
        tags = self._tag_pools[of, kinds, rng.integers(TAGS_OF_CATEGORY, size=of.shape)]
        np.put_along_axis(likes_tag, tags, True, 1)
        return Users(
            segments=segments,
            categories=categories,
            likes_category=likes_category,
            likes_tag=likes_tag,
            bands=rng.integers(BANDS, size=n),
            formats=rng.integers(FORMATS, size=n),
            vectors=vectors,
            habit=HABIT * rng.normal(size=n),
            activity=np.exp(ACTIVITY * rng.normal(size=n)),
        )

    def logits(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Returns the logit of the true click probability of pairs.

        Args:
            users: Users, any shape.
            items: Items, of a shape that broadcasts with the users'.

        Returns:
            Logits, of the broadcast shape.
        """
        own, of = self.users, self.items
        affinity = np.einsum("...d,...d->...", own.vectors[users], of.vectors[items])
        liked = own.likes_category[users, of.categories[items]]
        band = own.bands[users] == of.bands[items]
        tags = sum(
            own.likes_tag[users, of.tags[items, kind]].astype(int) for kind in range(TAG_KINDS)
        )
        same_format = own.formats[users] == of.formats[items]
        return (
            BASE
            + AFFINITY / np.sqrt(RANK) * affinity
            + of.quality[items]
            + own.habit[users]
            + liked * np.where(band, CATEGORY_OWN, CATEGORY_OTHER)
            + (1 - 0.5**tags) * np.where(same_format, TAGS_OWN, TAGS_OTHER)
        )

    def probability(self, users: np.ndarray, items: np.ndarray, label: str = "click") -> np.ndarray:
        """Returns the true probability of a label, for pairs as in :meth:`logits`.

        Args:
            users: Users, any shape.
            items: Items, of a shape that broadcasts with the users'.
            label: "click", or "conversion", which only follows a click.
        """
        if label not in ("click", "conversion"):
            raise ValueError(f"label must be click or conversion, got {label!r}")
        click = _sigmoid(self.logits(users, items))
        return click if label == "click" else click * self._after_click(users, items)

    def best(self, user: int, k: int, at: float = SPAN) -> np.ndarray:
        """Returns the k items with the likeliest clicks of a user, of those born by a second."""
        born = np.searchsorted(self.items.births, at, side="right")
        chances = self.logits(np.array(user), np.arange(born))
        return np.argsort(-chances, kind="stable")[:k]

    def exposure(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Returns how often pairs are shown when all items are born, up to a constant factor."""
        own, of = self.users, self.items
        popularity = of.popularity[items]
        in_category = np.bincount(of.categories, of.popularity, CATEGORIES)
        liked = own.likes_category[users, of.categories[items]]
        targeted = liked * popularity / in_category[of.categories[items]] / LIKED_CATEGORIES
        popular = popularity / of.popularity.sum()
        return own.activity[users] * (TARGETED * targeted + (1 - TARGETED) * popular)

    def blocks(self) -> Iterator[Rows]:
        """Yields the impressions, at most `BLOCK` at once."""
        for number in range(-(-self.n_rows // BLOCK)):
            yield self._block(number)

    def _block(self, number: int) -> Rows:
        rng = self._rng(6, number)
        # A shorter log has other rows, because the time is divided among all rows.
        rows = np.arange(number * BLOCK, min((number + 1) * BLOCK, self.n_rows))
        n = len(rows)
        times = _tenths((rows + rng.random(n)) / self.n_rows * SPAN)
        users = self._draw_users(rng.random(n))
        liked = self.users.categories[users, rng.integers(LIKED_CATEGORIES, size=n)]
        items = self._shelves[0].draw(liked, times, rng)
        popular = self._shelves[1].draw(np.zeros(n, dtype=int), times, rng)
        items = np.where((rng.random(n) < TARGETED) & (items >= 0), items, popular)
        chances = self.probability(users, items)
        clicks = rng.random(n) < chances
        conversions = clicks & (rng.random(n) < self._after_click(users, items))
        labels = (clicks.astype(np.int8), conversions.astype(np.int8))
        return Rows(users, items, times, *labels, chances)

    @cached_property
    def _shelves(self) -> tuple[Shelf, Shelf]:
        """Items by category, and all together."""
        items = self.items
        return Shelf(items.categories, items), Shelf(np.zeros(self.n_items, dtype=int), items)

    @cached_property
    def _cumulated_activity(self) -> np.ndarray:
        return np.cumsum(self.users.activity) / self.users.activity.sum()

    def _draw_users(self, aims: np.ndarray) -> np.ndarray:
        users = np.searchsorted(self._cumulated_activity, aims, side="right")
        return np.minimum(users, self.n_users - 1)

    def _after_click(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        band = self.users.bands[users] == self.items.bands[items]
        return _sigmoid(CONVERSION + CONVERSION_OWN * band + self.items.quality[items])

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *stream])

    def write(self, folder: str | Path) -> dict[str, float]:
        """Writes RecBole's atomic files; RecBole requires that they are named as their folder.

        ``.inter`` has the labels ``click`` and ``conversion``, and the second of the log. ``.user``
        has what is known of a user beforehand: segment, own price band and format, and the
        categories and tags engaged with before the log. ``.item`` has topic, category, tags, price
        band, format and birth.

        Args:
            folder: For example ``dataset/impressions``.

        Returns:
            Base rate per label, and ``ne``: the truth's normalised entropy on the clicks.
        """
        folder = Path(folder)
        self._write_sides(folder)
        sums = np.zeros(3)
        with (
            atomic_path(folder / f"{folder.name}.inter") as temporary,
            temporary.open("w", encoding="ascii", newline="") as file,
        ):
            head = "user_id:token item_id:token click:float conversion:float timestamp:float"
            file.write(head.replace(" ", "\t") + "\n")
            for rows in self.blocks():
                columns = (rows.users, rows.items, rows.clicks, rows.conversions, rows.times)
                values = zip(*(column.tolist() for column in columns), strict=True)
                file.write("".join(map("%d\t%d\t%d\t%d\t%.1f\n".__mod__, values)))
                missed = np.where(rows.clicks, rows.chances, 1 - rows.chances)
                sums += rows.clicks.sum(), rows.conversions.sum(), -np.log(missed).sum()
        click, conversion, loss = (sums / self.n_rows).tolist()
        return {"click": click, "conversion": conversion, "ne": loss / entropy(click)}

    def _write_sides(self, folder: Path) -> None:
        own, of = self.users, self.items
        tags = (np.flatnonzero(liked) for liked in own.likes_tag)
        users = {
            "user_id:token": range(self.n_users),
            "segment:token": own.segments,
            "preferred_band:token": own.bands,
            "preferred_format:token": own.formats,
            "liked_categories:token_seq": map(_sequence, own.categories),
            "liked_tags:token_seq": map(_sequence, tags),
        }
        items = {
            "item_id:token": range(self.n_items),
            "topic:token": self.topics[of.categories],
            "category:token": of.categories,
            "tags:token_seq": map(_sequence, of.tags),
            "band:token": of.bands,
            "format:token": of.formats,
            "birth:float": map("{:.1f}".format, of.births),
        }
        for suffix, columns in (("user", users), ("item", items)):
            with atomic_path(folder / f"{folder.name}.{suffix}") as temporary:
                lines = ("\t".join(map(str, row)) for row in zip(*columns.values(), strict=True))
                text = "\n".join(["\t".join(columns), *lines, ""])
                temporary.write_text(text, encoding="ascii", newline="")


def dot_product_bounds(
    log: Log, rank: int = 40, n_users: int = 1000, n_items: int = 2000, steps: int = 60
) -> dict[str, float]:
    """Returns how near a dot product of two vectors can come to the truth.

    Pairs of sampled users and items are weighted by how often they are shown. Every user and item
    has its own vector. The vectors are fitted to the true probabilities of all pairs, and a trained
    dot product sees one drawn label of few pairs, so it does worse. A larger sample is also harder
    to fit.

    Args:
        log: The log.
        rank: Dimensions of the vectors.
        n_users: Number of sampled users.
        n_items: Number of sampled items.
        steps: Steps of Adam, from the least-squares solution on.

    Returns:
        ``base_rate``, and three normalised entropies: ``truth``; ``svd``, of the best least-squares
        approximation of the logits with equal weights; ``fitted``, of the same after fitting it
        further to the log-loss.
    """
    rng = np.random.default_rng([log.seed, 7])
    users = rng.choice(log.n_users, min(n_users, log.n_users), replace=False)[:, None]
    items = rng.choice(log.n_items, min(n_items, log.n_items), replace=False)
    logits, weights = log.logits(users, items), log.exposure(users, items)
    chances, weights = _sigmoid(logits), weights / weights.sum()
    base_rate = float((weights * chances).sum())

    def ne(scores: np.ndarray) -> float:
        loss = np.logaddexp(0, scores) - chances * scores
        return float((weights * loss).sum() / entropy(base_rate))

    mean = logits.mean()
    left, sizes, right = np.linalg.svd(logits - mean, full_matrices=False)
    root = np.sqrt(sizes[:rank])
    sides = [left[:, :rank] * root, right[:rank].T * root]
    entropies = {
        "base_rate": base_rate,
        "truth": ne(logits),
        "svd": ne(sides[0] @ sides[1].T + mean),
    }
    moments = [(np.zeros_like(side), np.zeros_like(side)) for side in sides]
    for step in range(1, steps + 1):
        pull = weights * (_sigmoid(sides[0] @ sides[1].T + mean) - chances)
        gradients = (pull @ sides[1], pull.T @ sides[0])
        for side, gradient, (first, second) in zip(sides, gradients, moments, strict=True):
            first += 0.1 * (gradient - first)
            second += 0.01 * (gradient**2 - second)
            scale = np.sqrt(second / (1 - 0.99**step)) + 1e-20
            side -= 0.05 * first / (1 - 0.9**step) / scale
    entropies["fitted"] = ne(sides[0] @ sides[1].T + mean)
    return entropies


def entropy(rate: float) -> float:
    """Returns the log-loss of predicting a base rate, which has normalised entropy 1."""
    return float(-rate * np.log(rate) - (1 - rate) * np.log(1 - rate))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def _kinds() -> np.ndarray:
    """Returns the number of the first tag of each kind."""
    return np.arange(TAG_KINDS) * TAGS_PER_KIND


def _tenths(seconds: np.ndarray) -> np.ndarray:
    """Rounds down to the written precision, so that births and times still compare correctly."""
    return np.floor(seconds * 10) / 10


def _sequence(values: np.ndarray) -> str:
    return " ".join(map(str, values.tolist()))


def main() -> None:
    """Writes a log, and prints what models can reach on it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=Log.n_rows, help="impressions (1000000)")
    parser.add_argument("--items", type=int, default=Log.n_items, help="(100000)")
    parser.add_argument("--users", type=int, default=Log.n_users, help="(20000)")
    parser.add_argument("--seed", type=int, default=Log.seed, help="(0)")
    parser.add_argument("--rank", type=int, default=40, help="of the dot products (40)")
    parser.add_argument("--output", default="dataset/impressions", help="folder to write")
    arguments = parser.parse_args()
    log = Log(arguments.rows, arguments.items, arguments.users, arguments.seed)
    start = time.perf_counter()
    rates = log.write(arguments.output)
    print(
        f"{log.n_rows:,} impressions of {log.n_items:,} items to {log.n_users:,} users, seed "
        f"{log.seed}: {arguments.output}, {time.perf_counter() - start:.1f} s"
    )
    print(f"click {rates['click']:.4f}, conversion {rates['conversion']:.4f} of the impressions")
    print(f"NE of the true click probability on these impressions: {rates['ne']:.4f}")
    bounds = dot_product_bounds(log, arguments.rank)
    print("NE on sampled users and items, by how often a pair is shown:")
    print(f"  the truth                                   {bounds['truth']:.4f}")
    print(f"  rank {arguments.rank}, least squares (SVD) of the logits   {bounds['svd']:.4f}")
    print(f"  rank {arguments.rank}, fitted to the true probabilities    {bounds['fitted']:.4f}")


if __name__ == "__main__":
    main()
