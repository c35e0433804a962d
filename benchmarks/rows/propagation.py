"""Graph propagation, forward and backward."""

import torch

from recbole_hill.data.graph import InteractionGraph, propagate
from rows import jobs
from rows.row import Row, largest_difference, require_close


class Propagation(Row):
    """Three products with the normalised adjacency, and the gradient through them."""

    what = "graph propagation, forward + backward, D 64, 3 layers"
    beside = "RecBole LightGCN's COO product"
    at_least = 3.5

    def prepare(self) -> None:
        """Takes RecBole's model, and builds our graph of the same interactions."""
        job = jobs.recboles_lightgcn(self.setting)
        self.model = job.model
        self.model.n_layers = 3
        self.graph = InteractionGraph(job.data.train._dataset.inter_matrix(form="csr"))
        self.matrix = self.graph.normalized()
        torch.manual_seed(0)
        self.gradient = torch.randn(len(self.graph), job.config["embedding_size"])

    def ours(self):
        """Returns nodes and gradient by our CSR product."""
        ego = self.model.get_ego_embeddings().detach().requires_grad_()
        nodes = propagate(self.matrix, ego, self.model.n_layers, with_ego=True)
        nodes.backward(self.gradient)
        return nodes.detach(), ego.grad

    def peer(self):
        """Returns nodes and gradient by RecBole's forward."""
        self.model.zero_grad()
        nodes = torch.cat(self.model.forward())
        nodes.backward(self.gradient)
        tables = (self.model.user_embedding.weight, self.model.item_embedding.weight)
        return nodes.detach(), torch.cat([table.grad for table in tables])

    def check(self) -> str:
        """Compares node vectors and gradients."""
        pairs = zip(self.ours(), self.peer(), strict=True)
        difference = max(largest_difference(*pair) for pair in pairs)
        return require_close(difference, 1e-5, "vectors and gradients")

    def note(self) -> str:
        """Says how much memory traffic the products cost at least, and at what rate they ran."""
        entries, nodes, dim = len(self.graph.col), len(self.graph), self.gradient.shape[1]
        least = 2 * self.model.n_layers * (entries * 12 + 2 * nodes * dim * 4) / 2**20
        gathered = 2 * self.model.n_layers * entries * (12 + dim * 4) / 2**20
        seconds = self.cost(self.ours)
        started = torch.empty(1 << 26)  # 256 MiB, far beyond any cache
        copied = torch.empty_like(started)
        copying = min(self.cost(lambda: copied.copy_(started)) for _ in range(3))
        bandwidth = 2 * 256 / copying
        return (
            f"Propagation reads {gathered:,.0f} MiB of rows and entries ({least:,.0f} MiB if each "
            f"row were read once a product) at {gathered / seconds:,.0f} MiB/s; copying large "
            f"arrays runs at {bandwidth:,.0f} MiB/s (read and written) on one core."
        )


ROWS = [Propagation]
