"""The names that the package brings: models, their trainers, index learners and pair selectors.

A model has one line of facts: name (as the paper spells it), class, origin, citation, other
spellings; the registry adds the name without its hyphens. Origin ``recbole`` is RecBole's own
class; ``recbole, patched`` the same class, made to run on today's libraries, or to resume; ``own``
is ours; ``own, for RecBole's`` is ours under the name of a class of RecBole's, which then runs as
``recbole.NAME``. The docstring of our class says how the two differ.
"""

_BASELINES = "recbole_hill.model.baselines"
_MENDED = "recbole_hill.model.patched"
_RECBOLE = "recbole.model.general_recommender"
_HSNN = (
    'Kaushik Rangadurai et al. "Hierarchical Structured Neural Network: Efficient Retrieval '
    'Scaling for Large Scale Recommendation." arXiv 2408.06653, 2024.'
)

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
    (
        "Fusion",
        "recbole_hill.model.fusion:Fusion",
        "own",
        "recbole_hill: the summed scores of finished runs as one inner product. 2026.",
    ),
    # -- impressions with labels and features
    (
        "MoNN",
        "recbole_hill.labelled.monn:MoNN",
        "own",
        _HSNN,
    ),
    (
        "TTSN",
        "recbole_hill.labelled.monn:TTSN",
        "own",
        _HSNN,
    ),
    (
        "EBR",
        "recbole_hill.labelled.monn:EBR",
        "own",
        _HSNN,
    ),
    (
        "HSNN",
        "recbole_hill.labelled.hsnn:HSNN",
        "own",
        _HSNN,
    ),
    # -- RecBole's graph models on today's SciPy
    (
        "LightGCN",
        f"{_MENDED}:LightGCN",
        "recbole, patched",
        'Xiangnan He et al. "LightGCN: Simplifying and Powering Graph Convolution Network for '
        'Recommendation." in SIGIR 2020.',
    ),
    (
        "NGCF",
        f"{_MENDED}:NGCF",
        "recbole, patched",
        'Xiang Wang et al. "Neural Graph Collaborative Filtering." in SIGIR 2019.',
    ),
    (
        "recbole.GCMC",
        f"{_MENDED}:GCMC",
        "recbole, patched",
        'Rianne van den Berg et al. "Graph Convolutional Matrix Completion." in SIGKDD 2018.',
    ),
    (
        "NCL",
        f"{_MENDED}:NCL",
        "recbole, patched",
        'Zihan Lin et al. "Improving Graph Collaborative Filtering with Neighborhood-enriched '
        'Contrastive Learning." in WWW 2022.',
    ),
    (
        "SpectralCF",
        f"{_MENDED}:SpectralCF",
        "recbole, patched",
        'Lei Zheng et al. "Spectral Collaborative Filtering." in RecSys 2018.',
    ),
    # -- matrix factorisation
    (
        "BPR",
        f"{_BASELINES}.bpr:BPR",
        "own, for RecBole's",
        'Steffen Rendle et al. "BPR: Bayesian Personalized Ranking from Implicit Feedback." '
        "in UAI 2009.",
    ),
    (
        "HOP-Rec",
        f"{_BASELINES}.hoprec:HOPRec",
        "own",
        'Jheng-Hong Yang et al. "HOP-Rec: High-Order Proximity for Implicit Recommendation." '
        "in RecSys 2018.",
    ),
    (
        "ENMF",
        f"{_BASELINES}.enmf:ENMF",
        "own, for RecBole's",
        'Chong Chen et al. "Efficient Neural Matrix Factorization without Sampling for '
        'Recommendation." in TOIS 2020.',
    ),
    (
        "MF-CCL",
        f"{_BASELINES}.mfccl:MFCCL",
        "own",
        'Kelong Mao et al. "SimpleX: A Simple and Strong Baseline for Collaborative Filtering." '
        "in CIKM 2021.",
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
    (
        "MF-BSL",
        f"{_BASELINES}.bsl:MFBSL",
        "own",
        'Junkang Wu et al. "BSL: Understanding and Improving Softmax Loss for '
        'Recommendation." in ICDE 2024.',
    ),
    (
        "MF-SLK",
        f"{_BASELINES}.slk:MFSLK",
        "own",
        'Weiqin Yang et al. "Breaking the Top-K Barrier: Advancing Top-K Ranking Metrics '
        'Optimization in Recommender Systems." in KDD 2025.',
    ),
    (
        "MF-Talos",
        f"{_BASELINES}.talos:MFTalos",
        "own",
        'Shengjia Zhang et al. "Talos: Optimizing Top-K Accuracy in Recommender Systems." '
        "in WWW 2026.",
    ),
    (
        "UltraGCN",
        f"{_BASELINES}.ultragcn:UltraGCN",
        "own",
        'Kelong Mao et al. "UltraGCN: Ultra Simplification of Graph Convolutional Networks '
        'for Recommendation." in CIKM 2021.',
    ),
    # -- end of matrix factorisation
    # -- scores that do not factorise
    (
        "NeuMF",
        f"{_BASELINES}.neumf:NeuMF",
        "own, for RecBole's",
        'Xiangnan He et al. "Neural Collaborative Filtering." in WWW 2017; the network of NGCF\'s '
        "comparison, SIGIR 2019.",
    ),
    (
        "NeuMF-WWW",
        f"{_BASELINES}.neumfwww:NeuMFWWW",
        "own",
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
    ),
    # -- end of scores that do not factorise
    # -- auto-encoders
    (
        "Mult-VAE",
        f"{_BASELINES}.multvae:MultVAE",
        "own, for RecBole's",
        'Dawen Liang et al. "Variational Autoencoders for Collaborative Filtering." in WWW 2018.',
        "MultiVAE",
    ),
    (
        "Macrid-VAE",
        f"{_BASELINES}.macridvae:MacridVAE",
        "own, for RecBole's",
        'Jianxin Ma et al. "Learning Disentangled Representations for Recommendation." '
        "in NeurIPS 2019.",
    ),
    # -- end of auto-encoders
    # -- walks and skip-grams
    (
        "DeepWalk",
        f"{_BASELINES}.deepwalk:DeepWalk",
        "own",
        'Bryan Perozzi et al. "DeepWalk: Online Learning of Social Representations." in '
        "SIGKDD 2014.",
    ),
    (
        "LINE",
        f"{_MENDED}:LINE",
        "recbole, patched",
        'Jian Tang et al. "LINE: Large-scale Information Network Embedding." in WWW 2015.',
    ),
    (
        "Node2Vec",
        f"{_BASELINES}.node2vec:Node2Vec",
        "own",
        'Aditya Grover et al. "node2vec: Scalable Feature Learning for Networks." in SIGKDD 2016.',
    ),
    (
        "Item2Vec",
        f"{_BASELINES}.item2vec:Item2Vec",
        "own",
        'Oren Barkan et al. "Item2Vec: Neural Item Embedding for Collaborative Filtering." in '
        "MLSP 2016.",
    ),
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
        "own, for RecBole's",
        'Rianne van den Berg et al. "Graph Convolutional Matrix Completion." in SIGKDD 2018.',
    ),
    (
        "PinSage",
        f"{_BASELINES}.pinsage:PinSage",
        "own",
        'Rex Ying et al. "Graph Convolutional Neural Networks for Web-Scale Recommender Systems." '
        "in SIGKDD 2018.",
    ),
    (
        "GAT",
        f"{_BASELINES}.gat:GAT",
        "own",
        'Petar Velickovic et al. "Graph Attention Networks." in ICLR 2018.',
    ),
    (
        "DisenGCN",
        f"{_BASELINES}.disengcn:DisenGCN",
        "own",
        'Jianxin Ma et al. "Disentangled Graph Convolutional Networks." in ICML 2019.',
    ),
    (
        "NIA-GCN",
        f"{_BASELINES}.niagcn:NIAGCN",
        "own",
        'Jianing Sun et al. "Neighbor Interaction Aware Graph Convolution Networks for '
        'Recommendation." in SIGIR 2020.',
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
        "own, for RecBole's",
        'Jiancan Wu et al. "Self-supervised Graph Learning for Recommendation." in SIGIR 2021.',
        "SGL",
    ),
    (
        "LightGCN-BSL",
        f"{_BASELINES}.bsl:LightGCNBSL",
        "own",
        'Junkang Wu et al. "BSL: Understanding and Improving Softmax Loss for '
        'Recommendation." in ICDE 2024.',
    ),
    (
        "LightGCN-SLK",
        f"{_BASELINES}.slk:LightGCNSLK",
        "own",
        'Weiqin Yang et al. "Breaking the Top-K Barrier: Advancing Top-K Ranking Metrics '
        'Optimization in Recommender Systems." in KDD 2025.',
    ),
    (
        "LightGCN-Talos",
        f"{_BASELINES}.talos:LightGCNTalos",
        "own",
        'Shengjia Zhang et al. "Talos: Optimizing Top-K Accuracy in Recommender Systems." '
        "in WWW 2026.",
    ),
    (
        "DeosGCF",
        f"{_BASELINES}.deosgcf:DeosGCF",
        "own",
        'Zhiwei Liu et al. "Deoscillated Adaptive Graph Collaborative Filtering." in TAGML 2022.',
    ),
    (
        "IMP-GCN",
        f"{_BASELINES}.impgcn:IMPGCN",
        "own",
        'Fan Liu et al. "Interest-aware Message-Passing GCN for Recommendation." in WWW 2021.',
    ),
    (
        "LightGCN++",
        f"{_BASELINES}.lightgcnpp:LightGCNpp",
        "own",
        'Geon Lee et al. "Revisiting LightGCN: Unexpected Inflexibility, Inconsistency, and A '
        'Remedy Towards Improved Recommendation." in RecSys 2024.',
        "LightGCNpp",
    ),
    (
        "LightGCN++-BSL",
        f"{_BASELINES}.lightgcnpp:LightGCNppBSL",
        "own",
        "recbole_hill: the propagation of LightGCN++ (RecSys 2024) with the loss of BSL (ICDE "
        "2024). 2026.",
        "LightGCNppBSL",
    ),
    (
        "EGCF",
        f"{_BASELINES}.egcf:EGCF",
        "own",
        'Yi Zhang et al. "Simplify to the Limit! Embedding-less Graph Collaborative Filtering for '
        'Recommender Systems." in TOIS 2024.',
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
    (
        "DGCF",
        f"{_BASELINES}.dgcf:DGCF",
        "own, for RecBole's",
        'Xiang Wang et al. "Disentangled Graph Collaborative Filtering." in SIGIR 2020.',
    ),
    # -- end of routing, gating and diffusion
    # -- closed forms and filters
    (
        "GF-CF",
        f"{_BASELINES}.gfcf:GFCF",
        "own",
        'Yifei Shen et al. "How Powerful is Graph Convolution for Recommendation?" in CIKM 2021.',
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
        "PGSP",
        f"{_BASELINES}.pgsp:PGSP",
        "own",
        'Jiahao Liu et al. "Personalized Graph Signal Processing for Collaborative Filtering." '
        "in WWW 2023.",
    ),
    (
        "SpectralMF",
        f"{_BASELINES}.spectralmf:SpectralMF",
        "own",
        'After Yifei Shen et al. "How Powerful is Graph Convolution for Recommendation?" in '
        "CIKM 2021.",
    ),
    (
        "SpectralSSM",
        f"{_BASELINES}.spectralssm:SpectralSSM",
        "own",
        "recbole_hill: a low-pass filter with a softmax-trained residual. 2026.",
    ),
    (
        "SVD-AE",
        f"{_BASELINES}.svdae:SVDAE",
        "own",
        'Seoyoung Hong et al. "SVD-AE: Simple Autoencoders for Collaborative Filtering." '
        "in IJCAI 2024.",
    ),
    (
        "EASE",
        f"{_BASELINES}.ease:EASE",
        "own, for RecBole's",
        'Harald Steck. "Embarrassingly Shallow Autoencoders for Sparse Data." in WWW 2019.',
    ),
    (
        "RDLAE",
        f"{_BASELINES}.rdlae:RDLAE",
        "own",
        "Jaewan Moon et al. \"It's Enough: Relaxing Diagonal Constraints in Linear Autoencoders "
        'for Recommendation." in SIGIR 2023.',
    ),
    (
        "Pop",
        f"{_BASELINES}.pop:Pop",
        "own, for RecBole's",
        'Paolo Cremonesi et al. "Performance of Recommender Algorithms on Top-N Recommendation '
        'Tasks." in RecSys 2010.',
    ),
    (
        "ItemKNN",
        f"{_BASELINES}.itemknn:ItemKNN",
        "own, for RecBole's",
        'Mukund Deshpande and George Karypis. "Item-based Top-N Recommendation Algorithms." '
        "in TOIS 2004.",
    ),
    # -- end of closed forms and filters
)

_LABELLED = "recbole_hill.labelled.trainer:LabelledTrainer"
#: Trainers by model. A subclass has its base's trainer; for all other models RecBole chooses.
TRAINERS = {
    "HILL": "recbole_hill.pipeline:HILLTrainer",
    "HSNN": "recbole_hill.labelled.hsnn_trainer:HSNNTrainer",
    "MoNN": _LABELLED,
    "TTSN": _LABELLED,
    "EBR": _LABELLED,
}
#: The class and the trainer in a model's place over a backbone that derives from the class named.
OVER = {
    "HILL": {
        "recbole_hill.labelled.model:LabelledModel": (
            "recbole_hill.labelled.hill:LabelledHILL",
            "recbole_hill.pipeline:LabelledHILLTrainer",
        ),
    },
}
#: Index learners by name, the values of ``index_learning``.
LEARNERS = {
    "em": "recbole_hill.index.em:EMLearner",
    "joint": "recbole_hill.index.gradient:JointLearner",
    "separate": "recbole_hill.index.gradient:SeparateLearner",
}
#: Pair selectors by name, the values of ``pair_selector``.
SELECTORS = {
    "interest": "recbole_hill.adapt.selectors:interest_pairs",
}

_BACKBONES = """
NESCL Fusion LightGCN NGCF NCL BPR HOP-Rec ENMF MF-CCL GRMF GRMF-norm SimpleX YouTubeNet CML MF-SSM
MF-BSL MF-SLK MF-Talos UltraGCN DeepWalk LINE Node2Vec Item2Vec MGDCF APPNP JKNet DropEdge GC-MC
PinSage GAT DisenGCN NIA-GCN LightGCN-SSM LT-OCF BUIR SGL-ED LightGCN-BSL LightGCN-SLK
LightGCN-Talos DeosGCF IMP-GCN HMLET GTN DGCF SpectralMF SpectralSSM SVD-AE LightGCN++
LightGCN++-BSL EGCF recbole.BPR recbole.SGL MoNN TTSN
"""
_UNTRAINED = """
GF-CF BSPM-LM BSPM-EM ChebyCF PGSP EASE RDLAE Pop ItemKNN SpectralMF SVD-AE Fusion ADMMSLIM
recbole.EASE recbole.ItemKNN recbole.Pop Random SLIMElastic
"""
#: Models that give item vectors, so that HILL can index them (``--backbone=NAME``).
BACKBONES = frozenset(_BACKBONES.split())
#: Models that are computed from the train matrix, or from finished runs, and not trained.
UNTRAINED = frozenset(_UNTRAINED.split())
#: What a model's rows must hold beside users and items, by the folder of its class.
NEEDS = {
    "recbole_hill.labelled": "labels and features",
    "recbole.model.context_aware_recommender": "labels and features",
    "recbole.model.exlib_recommender": "labels and features",
    "recbole.model.knowledge_aware_recommender": "a knowledge graph",
    "recbole.model.sequential_recommender": "times",
}
