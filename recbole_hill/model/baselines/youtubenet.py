"""YouTubeNet: a user is the mean of its items, under sampled softmax, as BARS ran it.

Reference:
    Paul Covington et al. "Deep Neural Networks for YouTube Recommendations." in RecSys 2016.
"""

import torch
from torch import Tensor, nn

from recbole_hill.data.graph import InteractionGraph
from recbole_hill.model.factorization import SampledModel, SampledScores
from recbole_hill.model.fit_once import train_matrix
from recbole_hill.model.losses import sampled_softmax


class YouTubeNet(SampledModel):
    """Scores <mean of the history's item vectors, item vector>; one table, no user ids, no MLP.

    What the published row ran is this, as its parameter count shows, not the 2016 network (which
    wants watch sequences and ages). In training the target is left out of its own user's mean;
    a user of one item then has a zero vector.

    The paper's longest history, 500, is not cut here: the mean is one sparse product.

    Settings: :class:`~recbole_hill.model.factorization.DeviceSampling`'s, ``embedding_size``,
    ``init_std``, ``reg_weight`` (half the whole table's squared norm).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.item_embedding = nn.Embedding(self.n_items, config["embedding_size"])
        nn.init.normal_(self.item_embedding.weight, std=config["init_std"])
        self.reg_weight = config["reg_weight"]
        self.graph = InteractionGraph(train_matrix(dataset))

    def history_sums(self) -> Tensor:
        """Returns the sum of each user's item vectors, shape (U, D)."""
        items = self.item_embedding.weight
        padded = torch.cat((items.new_zeros(self.n_users, items.shape[1]), items))
        return self.graph.neighbour_sums(padded)[: self.n_users]

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the means of the histories, and the table."""
        count = self.graph.degree[: self.n_users].clamp_min(1).unsqueeze(1)
        return self.history_sums() / count, self.item_embedding.weight

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """Sampled softmax, each user without the target of its row."""
        user, positive, negative = self.draw(interaction)
        count = self.graph.degree[user].unsqueeze(1)
        query = (users[user] * count - items[positive]) / (count - 1).clamp_min(1)
        others = SampledScores.apply(query, items, negative)
        loss = sampled_softmax((query * items[positive]).sum(1), others)
        return loss + self.reg_weight / 2 * items.square().sum()
