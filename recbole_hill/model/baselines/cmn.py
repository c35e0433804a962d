"""CMN: a memory of the users who have the item, read by attention.

Reference:
    Travis Ebesu et al. "Collaborative Memory Network for Recommendation Systems." in SIGIR 2018.
"""

from collections.abc import Callable, Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.data.graph import InteractionGraph
from recbole_hill.model.bases.attention import segment_softmax, segment_sums
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.pair_products import pair_products
from recbole_hill.model.bases.pair_score import PairScoreModel
from recbole_hill.model.bases.pretrained import PretrainedStart


class CMN(PretrainedStart, PairScoreModel):
    """Scores v^T ReLU(U [m_u * e_i; o] + b), where o is the last of ``n_hops`` reads (Eq. 1-7).

    The query of hop 1 is q = m_u + e_i. The query of a later hop is q <- ReLU(W q + b + o). A read
    is o = sum_v a_v c_v over the users v of item i, with a = softmax_v <q, m_v>, memory m and
    external memory c. An item without train users reads 0.

    Training attends over segments of CSR rows. Full ranking takes items of similar degree together,
    because many users read the same neighbourhood. So a block is padded by at most a quarter, and
    not to the longest neighbourhood. Gowalla costs 29,858 x 810,128 x 256 multiplications (two
    hops), all in matrix products.

    As in the authors' code (tebesu/CollaborativeMemoryNetwork), in training the user of the pair is
    among the item's users; no test pair has this. As there, the tables start from a normal
    distribution cut at two deviations of .01, W and U from He's, v from Xavier's, and the biases of
    W at 1, of U at 0. The authors give an item without train users the memory of the user that has
    the item's number; here it reads 0. HILL's Table 3 quotes the row of NGCF's comparison. As
    there, the optimiser is Adam (the authors use RMSprop with momentum and clipping) and D is 64
    (the authors: 50).

    Settings: those of :class:`~recbole_hill.model.bases.pair_score.PairScoreModel`, ``n_hops``,
    ``dense_reg_weight`` (weight of half the squared weight matrices), ``pretrained_from``.
    """

    #: Largest number of floats in one array of full ranking.
    block_floats: ClassVar[int] = 1 << 22

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.dense_reg_weight = config["dense_reg_weight"]
        size, hops = config["embedding_size"], config["n_hops"]
        self.graph = InteractionGraph(train_matrix(dataset))
        self.user_memory = nn.Embedding(self.n_users, size)
        self.user_output = nn.Embedding(self.n_users, size)
        self.item_memory = nn.Embedding(self.n_items, size)
        for table in (self.user_memory, self.user_output, self.item_memory):
            nn.init.trunc_normal_(table.weight, std=0.01, a=-0.02, b=0.02)
        self.hops = nn.ModuleList(nn.Linear(size, size) for _ in range(hops - 1))
        self.hidden = nn.Linear(2 * size, size)
        self.output = nn.Linear(size, 1, bias=False)
        for layer in (*self.hops, self.hidden):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.constant_(layer.bias, 0.0 if layer is self.hidden else 1.0)
        nn.init.xavier_uniform_(self.output.weight)

    def pair_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores pairs; each pair reads the memory of its item."""
        crow, row, readers = self.graph.rows(items + self.n_users)
        memory, output = self.user_memory.weight, self.user_output.weight

        def read(query: Tensor) -> Tensor:
            logits = pair_products(query, row, memory, readers)
            attention = segment_softmax(logits, row, len(items))
            return segment_sums(attention, output, readers, crow)

        return self._scores(self.user_memory(users), self.item_memory(items), read)

    def block_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores all users with all items; all users read an item's memory in one product."""
        crow, row, readers = self.graph.rows(items + self.n_users)
        counts = crow.diff()
        place = torch.arange(len(row), device=row.device) - crow[row]
        padded = readers.new_zeros(len(items), int(counts.max()))
        padded[row, place] = readers
        absent = torch.arange(padded.shape[1], device=row.device) >= counts.unsqueeze(1)  # (n, w)
        memory, output = self.user_memory(padded), self.user_output(padded)  # (n, w, D)
        output = output.masked_fill(absent.unsqueeze(2), 0)
        bias = torch.zeros_like(absent, dtype=memory.dtype).masked_fill(absent, -1e30).unsqueeze(1)

        def read(query: Tensor) -> Tensor:
            logits = torch.baddbmm(bias, query, memory.transpose(1, 2))  # (n, b, w)
            return logits.softmax(2) @ output

        user, item = self.user_memory(users), self.item_memory(items).unsqueeze(1)
        return self._scores(user.unsqueeze(0), item, read).T

    def _scores(self, user: Tensor, item: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
        """The network, for user and item vectors of any shapes that broadcast."""
        query = user + item
        output = read(query)
        for hop in self.hops:
            query = F.relu(hop(query) + output)
            output = read(query)
        hidden = F.relu(self.hidden(torch.cat((user * item, output), -1)))
        return self.output(hidden).squeeze(-1)

    def blocks(self, users: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yields blocks of items of similar degree; see the class."""
        degrees, items = self.graph.degree[self.n_users :].sort()
        degrees = degrees.cpu()
        step = min(len(users), 1024)
        cuts = []
        start = 0
        while start < self.n_items:
            end = int(torch.searchsorted(degrees, 1.25 * degrees[start], right=True))
            widest = max(self.user_memory.embedding_dim, int(degrees[end - 1]))
            cuts += items[start:end].split(max(1, self.block_floats // (step * widest)))
            start = end
        for rows in range(0, len(users), step):
            for block in cuts:
                yield slice(rows, rows + step), block

    def calculate_loss(self, interaction) -> Tensor:
        """BPR with its L2 term, plus the authors' L2 term of the weight matrices."""
        dense = (*self.hops, self.hidden, self.output)
        penalty = sum(layer.weight.square().sum() for layer in dense) / 2
        return super().calculate_loss(interaction) + self.dense_reg_weight * penalty

    def tables(self) -> tuple[list[nn.Embedding], list[nn.Embedding]]:
        """The memories of the pair itself; the L2 term leaves out the neighbours."""
        return [self.user_memory], [self.item_memory]

    def pretrained_pairs(self) -> list[tuple[nn.Embedding, nn.Embedding]]:
        """The two memories; the external memory stays random."""
        return [(self.user_memory, self.item_memory)]

    def from_pretrained(self, values: Tensor, drawn: Tensor) -> Tensor:
        """Halves the other run's vectors, as the authors do."""
        return 0.5 * values
