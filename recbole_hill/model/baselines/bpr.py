"""BPR: matrix factorisation under Bayesian personalised ranking.

Reference:
    Steffen Rendle et al. "BPR: Bayesian Personalized Ranking from Implicit Feedback." in UAI 2009.
"""

from recbole_hill.model.factorization import MatrixFactorization


class BPR(MatrixFactorization):
    """The base as it is: the mean over the drawn negatives of -ln sigmoid(s_ui - s_uj), and L2.

    RecBole's class of this name draws one negative and has no L2 term; the row that HILL's Table 3
    quotes was run with 300 negatives a positive (BARS), worth .0336 recall@20 on Gowalla over
    NGCF's row with one. With ``n_negatives: 1`` and ``reg_weight: 0`` the two are the same model.
    """
