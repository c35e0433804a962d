"""The models by name: HILL, its backbone, the baselines of its Table 3, and those it leaves out.

One line of facts each: name (as the paper spells it), class, origin, citation, other spellings.
Origin ``recbole`` is RecBole's own class; ``recbole, mended`` a subclass of it that differs in what
its docstring says; ``own`` is ours, ``own, for RecBole's`` where RecBole has a class of the name.
"""

_BASELINES = "recbole_hill.model.baselines"
_MENDED = "recbole_hill.model.mended"
_RECBOLE = "recbole.model.general_recommender"

CATALOGUE = (
    (
        "HILL",
        "recbole_hill.model.hill:HILL",
        "own",
        "Efficient Retrieval Scaling with Hierarchical Indexing for Large Scale Recommendation. "
        "arXiv 2604.12965, 2026.",
    ),
    (
        "NESCL",
        "recbole_hill.model.nescl:NESCL",
        "own",
        'Peijie Sun et al. "Neighborhood-Enhanced Supervised Contrastive Learning for '
        'Collaborative Filtering." in TKDE 2024.',
        "SUPCCL",
    ),
    # -- RecBole's graph models on today's SciPy
    (
        "LightGCN",
        f"{_MENDED}:LightGCN",
        "recbole, mended",
        'Xiangnan He et al. "LightGCN: Simplifying and Powering Graph Convolution Network for '
        'Recommendation." in SIGIR 2020.',
    ),
    (
        "NGCF",
        f"{_MENDED}:NGCF",
        "recbole, mended",
        'Xiang Wang et al. "Neural Graph Collaborative Filtering." in SIGIR 2019.',
    ),
    (
        "GCMC",
        f"{_MENDED}:GCMC",
        "recbole, mended",
        'Rianne van den Berg et al. "Graph Convolutional Matrix Completion." in SIGKDD 2018.',
    ),
    (
        "NCL",
        f"{_MENDED}:NCL",
        "recbole, mended",
        'Zihan Lin et al. "Improving Graph Collaborative Filtering with Neighborhood-enriched '
        'Contrastive Learning." in WWW 2022.',
    ),
    (
        "SpectralCF",
        f"{_MENDED}:SpectralCF",
        "recbole, mended",
        'Lei Zheng et al. "Spectral Collaborative Filtering." in RecSys 2018.',
    ),
    # -- matrix factorisation
    (
        "MF-CCL",
        f"{_BASELINES}.mfccl:MFCCL",
        "own",
        'Kelong Mao et al. "SimpleX: A Simple and Strong Baseline for Collaborative Filtering." '
        "in CIKM 2021.",
        "MFCCL",
    ),
    (
        "GRMF",
        f"{_BASELINES}.grmf:GRMF",
        "own",
        'Nikhil Rao et al. "Collaborative Filtering with Graph Information: Consistency and '
        'Scalable Methods." in NIPS 2015.',
    ),
    (
        "GRMF-norm",
        f"{_BASELINES}.grmf:GRMF",
        "own",
        'Nikhil Rao et al. "Collaborative Filtering with Graph Information: Consistency and '
        'Scalable Methods." in NIPS 2015; normalised as in LightGCN, SIGIR 2020.',
    ),
    (
        "SimpleX",
        f"{_BASELINES}.simplex:SimpleX",
        "own, for RecBole's",
        'Kelong Mao et al. "SimpleX: A Simple and Strong Baseline for Collaborative Filtering." '
        "in CIKM 2021.",
    ),
    (
        "YouTubeNet",
        f"{_BASELINES}.youtubenet:YouTubeNet",
        "own",
        'Paul Covington et al. "Deep Neural Networks for YouTube Recommendations." in RecSys 2016.',
    ),
    (
        "CML",
        f"{_BASELINES}.cml:CML",
        "own",
        'Cheng-Kang Hsieh et al. "Collaborative Metric Learning." in WWW 2017.',
    ),
    (
        "MF-SSM",
        f"{_BASELINES}.ssm:MFSSM",
        "own",
        'Jiancan Wu et al. "On the Effectiveness of Sampled Softmax Loss for Item '
        'Recommendation." in TOIS 2024.',
    ),
    # -- end of matrix factorisation
    # -- scores that do not factorise
    (
        "NeuMF",
        f"{_BASELINES}.neumf:NeuMF",
        "recbole, mended",
        'Xiangnan He et al. "Neural Collaborative Filtering." in WWW 2017.',
    ),
    (
        "CMN",
        f"{_BASELINES}.cmn:CMN",
        "own",
        'Travis Ebesu et al. "Collaborative Memory Network for Recommendation Systems." '
        "in SIGIR 2018.",
    ),
    (
        "IA-GCN",
        f"{_BASELINES}.iagcn:IAGCN",
        "own",
        'Yinan Zhang et al. "IA-GCN: Interactive Graph Convolutional Network for Recommendation." '
        "arXiv 2204.03827, 2022.",
        "IAGCN",
    ),
    # -- end of scores that do not factorise
    # -- auto-encoders
    (
        "Mult-VAE",
        f"{_BASELINES}.multvae:MultVAE",
        "recbole, mended",
        'Dawen Liang et al. "Variational Autoencoders for Collaborative Filtering." in WWW 2018.',
        "MultiVAE",
        "MultVAE",
    ),
    (
        "Macrid-VAE",
        f"{_RECBOLE}.macridvae:MacridVAE",
        "recbole",
        'Jianxin Ma et al. "Learning Disentangled Representations for Recommendation." '
        "in NeurIPS 2019.",
        "MacridVAE",
    ),
    # -- end of auto-encoders
    # -- walks and skip-grams
    # -- end of walks and skip-grams
    # -- generic graph networks
    (
        "MGDCF",
        f"{_BASELINES}.mgdcf:MGDCF",
        "own",
        'Jun Hu et al. "MGDCF: Distance Learning via Markov Graph Diffusion for Neural '
        'Collaborative Filtering." in TKDE 2024.',
    ),
    (
        "APPNP",
        f"{_BASELINES}.appnp:APPNP",
        "own",
        'Johannes Gasteiger et al. "Predict then Propagate: Graph Neural Networks meet '
        'Personalized PageRank." in ICLR 2019.',
    ),
    (
        "JKNet",
        f"{_BASELINES}.jknet:JKNet",
        "own",
        'Keyulu Xu et al. "Representation Learning on Graphs with Jumping Knowledge Networks." '
        "in ICML 2018.",
    ),
    (
        "DropEdge",
        f"{_BASELINES}.jknet:JKNet",
        "own",
        'Yu Rong et al. "DropEdge: Towards Deep Graph Convolutional Networks on Node '
        'Classification." in ICLR 2020.',
    ),
    (
        "GC-MC",
        f"{_BASELINES}.gcmc:GCMC",
        "own",
        'Rianne van den Berg et al. "Graph Convolutional Matrix Completion." in SIGKDD 2018.',
    ),
    (
        "PinSage",
        f"{_BASELINES}.pinsage:PinSage",
        "own",
        'Rex Ying et al. "Graph Convolutional Neural Networks for Web-Scale Recommender Systems." '
        "in SIGKDD 2018.",
    ),
    # -- end of generic graph networks
    # -- the LightGCN family
    (
        "LightGCN-SSM",
        f"{_BASELINES}.ssm:LightGCNSSM",
        "own",
        'Jiancan Wu et al. "On the Effectiveness of Sampled Softmax Loss for Item '
        'Recommendation." in TOIS 2024.',
    ),
    (
        "LT-OCF",
        f"{_BASELINES}.ltocf:LTOCF",
        "own",
        'Jeongwhan Choi et al. "LT-OCF: Learnable-Time ODE-based Collaborative Filtering." '
        "in CIKM 2021.",
        "LTOCF",
    ),
    (
        "BUIR",
        f"{_BASELINES}.buir:BUIR",
        "own",
        'Dongha Lee et al. "Bootstrapping User and Item Representations for One-Class '
        'Collaborative Filtering." in SIGIR 2021.',
    ),
    (
        "SGL-ED",
        f"{_BASELINES}.sgled:SGLED",
        "own",
        'Jiancan Wu et al. "Self-supervised Graph Learning for Recommendation." in SIGIR 2021.',
    ),
    # -- end of the LightGCN family
    # -- routing, gating and diffusion
    (
        "HMLET",
        f"{_BASELINES}.hmlet:HMLET",
        "own",
        'Taeyong Kong et al. "Linear, or Non-Linear, That is the Question!" in WSDM 2022.',
    ),
    (
        "GTN",
        f"{_BASELINES}.gtn:GTN",
        "own",
        'Wenqi Fan et al. "Graph Trend Filtering Networks for Recommendation." in SIGIR 2022.',
    ),
    # -- end of routing, gating and diffusion
    # -- closed forms and filters
    (
        "GF-CF",
        f"{_BASELINES}.gfcf:GFCF",
        "own",
        'Yifei Shen et al. "How Powerful is Graph Convolution for Recommendation?" in CIKM 2021.',
        "GFCF",
    ),
    (
        "BSPM-LM",
        f"{_BASELINES}.bspm:BSPM",
        "own",
        'Jeongwhan Choi et al. "Blurring-Sharpening Process Models for Collaborative Filtering." '
        "in SIGIR 2023.",
        "BSPM",
    ),
    (
        "BSPM-EM",
        f"{_BASELINES}.bspm:BSPM",
        "own",
        'Jeongwhan Choi et al. "Blurring-Sharpening Process Models for Collaborative Filtering." '
        "in SIGIR 2023.",
    ),
    (
        "ChebyCF",
        f"{_BASELINES}.chebycf:ChebyCF",
        "own",
        'Chanwoo Kim et al. "Graph Spectral Filtering with Chebyshev Interpolation for '
        'Recommendation." in SIGIR 2025.',
    ),
    (
        "EASE",
        f"{_BASELINES}.ease:EASE",
        "own, for RecBole's",
        'Harald Steck. "Embarrassingly Shallow Autoencoders for Sparse Data." in WWW 2019.',
    ),
    # -- end of closed forms and filters
)
