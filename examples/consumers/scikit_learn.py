"""Spectral clustering and PCA of scikit-learn's kind on fastlanczos: every copy of a value, verified pairs.

pip install 'fastlanczos' scikit-learn
"""

import numpy as np
import scipy.sparse as sp
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import kneighbors_graph

import fastlanczos as fl


def spectral_embedding(graph, k):
    """The k eigenvectors that `sklearn.manifold.spectral_embedding(drop_first=False)` takes, by shift-invert at 0."""
    laplacian, degree = sp.csgraph.laplacian(graph, normed=True, return_diag=True)
    _, vectors = fl.eigsh(sp.csr_array(laplacian), k, sigma=0.0)
    return vectors / np.asarray(degree)[:, None]


def pca(X, k):
    """Scores and explained variances, X sparse or dense, its mean never subtracted in memory."""
    u, s, _ = fl.svds(X, k, center=True)
    return (u * s)[:, ::-1], (s**2 / (X.shape[0] - 1))[::-1]


if __name__ == "__main__":
    X, y = load_digits(return_X_y=True)
    graph = kneighbors_graph(X, 10)
    embedding = spectral_embedding(0.5 * (graph + graph.T), 10)
    labels = KMeans(10, n_init=10, random_state=0).fit_predict(embedding)
    print(f"agreement with the digits: {adjusted_rand_score(y, labels):.2f}")
    _, variances = pca(sp.csr_array(X), 5)
    theirs = PCA(5).fit(X).explained_variance_
    print(f"variances differ from scikit-learn's by {np.abs(variances / theirs - 1).max():.0e}")
