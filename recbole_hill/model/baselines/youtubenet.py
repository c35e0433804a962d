"""YouTubeNet: a user is the mean of its items, under sampled softmax, as BARS ran it.

Reference:
    Paul Covington et al. "Deep Neural Networks for YouTube Recommendations." in RecSys 2016.
"""

import torch
from torch import Tensor, nn

from recbole_hill.data.graph import InteractionGraph
from recbole_hill.model.bases.factorization import SampledModel, SampledScores
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.history import history_means
from recbole_hill.model.losses import sampled_softmax


class YouTubeNet(SampledModel):
    """Scores <mean of the history's item vectors, item vector>; one table, no user ids, no MLP.

    What the published row ran is this, as its parameter count shows, not the 2016 network (which
    wants watch sequences and ages). In training the target is left out of its own user's mean;
    a user of one item then has a zero vector.

    The paper's longest history, 500, is not cut here.

    Settings: :class:`~recbole_hill.model.bases.factorization.DeviceSampling`'s, ``embedding_size``,
    ``init_std``, ``reg_weight`` (half the whole table's squared norm).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.item_embedding = nn.Embedding(self.n_items, config["embedding_size"])
        nn.init.normal_(self.item_embedding.weight, std=config["init_std"])
        self.reg_weight = config["reg_weight"]
        self.graph = InteractionGraph(train_matrix(dataset))

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the means of the whole histories, and the table."""
        items = self.item_embedding.weight
        everyone = torch.arange(self.n_users, device=items.device)
        return history_means(self.graph, items, everyone), items

    def calculate_loss(self, interaction) -> Tensor:
        """The loss of the batch's users alone: nobody else's mean is made."""
        return self.embedding_loss(None, self.item_embedding.weight, interaction)

    def embedding_loss(self, users: Tensor | None, items: Tensor, interaction) -> Tensor:
        """Sampled softmax, each user without the target of its row, unlike in ``users``."""
        user, positive, negative = self.draw(interaction)
        query = history_means(self.graph, items, user, positive)
        scores = SampledScores.apply(query, items, torch.cat((positive.unsqueeze(1), negative), 1))
        loss = sampled_softmax(scores[:, 0], scores[:, 1:])
        return loss + self.reg_weight / 2 * items.square().sum()
