"""BPR: matrix factorisation with Bayesian personalised ranking.

Reference:
    Steffen Rendle et al. "BPR: Bayesian Personalized Ranking from Implicit Feedback." in UAI 2009.
"""

from torch import Tensor

from recbole_hill.model.bases.factorization import MatrixFactorization


class BPR(MatrixFactorization):
    """The mean over the drawn negatives of -ln sigmoid(s_ui - s_uj), plus L2.

    RecBole's class of this name draws one negative and has no L2 term. HILL's Table 3 quotes a row
    that was run with 300 negatives per positive (BARS). On Gowalla its recall@20 is .0336 above
    NGCF's row with one negative. With ``n_negatives: 1`` and ``reg_weight: 0`` this class equals
    RecBole's.

    Settings: those of ``MatrixFactorization``, ``reg_over`` (``batch``: half the squared norms of
    the batch's rows, divided by B; ``tables``: half the squared norms of the whole tables, as in
    BARS).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.over_tables = config["reg_over"] == "tables"

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """BPR over the drawn negatives, plus the L2 term."""
        drawn = self.draw(interaction)
        if not self.over_tables:
            return self.bpr_loss(users, items, *drawn)
        return self.ranking_loss(users, items, *drawn) + self.tables_l2()
