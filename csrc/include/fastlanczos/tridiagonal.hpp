// Gauss quadrature of symmetric tridiagonal matrices: eigenvalues and squared first components of the eigenvectors.
//
// With T = S diag(theta) S^T of order m, the nodes are theta (ascending) and the weights S_{1,i}^2, so that
// e_1^T f(T) e_1 = sum_i weights_i f(nodes_i). Implicit QL with Wilkinson's shift (Golub and Welsch, "Calculation of
// Gauss quadrature rules", Math. Comp. 23, 1969): the rotations are applied to the first row of S alone, so one matrix
// costs O(m^2) operations and 3 m entries of memory. Scaled by a power of two, so that no square over- or underflows;
// split wherever an off-diagonal is negligible; graded blocks are turned so that their large end comes last.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "parallel.hpp"

namespace fastlanczos {

struct QuadratureWorkspace {
    std::vector<double> diagonal, off_diagonal, first_row;
    std::vector<Index> order;
};

namespace detail {

// Squares below this have lost, or may lose, digits to underflow; an entry below its root is nothing beside a norm
// of 1.
constexpr double kSmallSquare = 1e-280;

// One implicit QL sweep on rows l .. r of a block, with Wilkinson's shift from its top.
inline void ql_sweep(Index l, Index r, double* d, double* e, double* row) {
    double g = (d[l + 1] - d[l]) / (2.0 * e[l]);
    const double root = std::hypot(g, 1.0);
    g = d[r] - d[l] + e[l] / (g + std::copysign(root, g));
    double sine = 1.0, cosine = 1.0, p = 0.0;
    for (Index i = r - 1; i >= l; --i) {
        const double f = sine * e[i], b = cosine * e[i];
        const double squares = f * f + g * g;  // entries are scaled to at most 1: no overflow
        const double norm = squares > kSmallSquare ? std::sqrt(squares) : std::hypot(f, g);
        e[i + 1] = norm;
        if (norm == 0.0) {  // underflow: the block splits here
            d[i + 1] -= p;
            e[r] = 0.0;
            return;
        }
        sine = f / norm;
        cosine = g / norm;
        g = d[i + 1] - p;
        const double t = (d[i] - g) * sine + 2.0 * cosine * b;
        p = sine * t;
        d[i + 1] = g + p;
        g = cosine * t - b;
        const double x = row[i + 1];
        row[i + 1] = sine * row[i] + cosine * x;
        row[i] = cosine * row[i] - sine * x;
    }
    d[l] -= p;
    e[l] = g;
    e[r] = 0.0;
}

inline bool negligible(double e, double d0, double d1) {
    constexpr double eps = std::numeric_limits<double>::epsilon();
    return e * e <= eps * eps * std::abs(d0) * std::abs(d1) + kSmallSquare;
}

// Diagonalises the unreduced block l .. r in place. False if it needs more than 60 sweeps per eigenvalue on
// average (two are usual; strongly graded matrices spend a hundred on their first).
inline bool diagonalize_block(Index l, Index r, double* d, double* e, double* row) {
    if (std::abs(d[l]) > std::abs(d[r])) {  // QL wants the large end last
        std::reverse(d + l, d + r + 1);
        std::reverse(e + l, e + r);
        std::reverse(row + l, row + r + 1);
    }
    const Index first = l;
    for (Index sweeps = 0; l < r;) {
        Index end = l;
        while (end < r && !negligible(e[end], d[end], d[end + 1])) ++end;
        if (end < r) e[end] = 0.0;
        if (end == l) {
            ++l;
            continue;
        }
        if (++sweeps > 60 * (r - first + 1)) return false;
        const double kept = e[end];  // the sweep uses the entry below its block as scratch
        ql_sweep(l, end, d, e, row);
        e[end] = kept;
    }
    return true;
}

}  // namespace detail

// alpha (m), beta (m - 1) -> nodes (m, ascending), weights (m). False where the iteration does not converge (which
// needs entries that are not finite).
inline bool gauss_quadrature(Index m, const double* alpha, const double* beta, double* nodes, double* weights,
                             QuadratureWorkspace& work) {
    const auto size = static_cast<std::size_t>(m);
    work.diagonal.assign(alpha, alpha + m);
    work.off_diagonal.assign(size, 0.0);
    std::copy(beta, beta + m - 1, work.off_diagonal.begin());
    work.first_row.assign(size, 0.0);
    work.first_row[0] = 1.0;
    double *d = work.diagonal.data(), *e = work.off_diagonal.data(), *row = work.first_row.data();

    double largest = 0.0;
    for (Index i = 0; i < m; ++i) {
        if (!std::isfinite(d[i]) || !std::isfinite(e[i])) return false;
        largest = std::max({largest, std::abs(d[i]), std::abs(e[i])});
    }
    const int exponent = largest > 0.0 ? std::max(-1000, std::ilogb(largest)) : 0;
    const double down = std::ldexp(1.0, -exponent);
    for (Index i = 0; i < m; ++i) {
        d[i] *= down;
        e[i] *= down;
    }

    for (Index first = 0; first < m;) {
        Index last = first;
        while (last + 1 < m && !detail::negligible(e[last], d[last], d[last + 1])) ++last;
        if (!detail::diagonalize_block(first, last, d, e, row)) return false;
        first = last + 1;
    }

    work.order.resize(size);
    std::iota(work.order.begin(), work.order.end(), Index{0});
    std::sort(work.order.begin(), work.order.end(), [d](Index i, Index j) { return d[i] < d[j]; });
    for (Index i = 0; i < m; ++i) {
        const Index from = work.order[static_cast<std::size_t>(i)];
        nodes[i] = std::ldexp(d[from], exponent);
        weights[i] = row[from] * row[from];
    }
    return true;
}

// `count` matrices, one after another in memory: alpha (count, m), beta (count, m - 1), nodes and weights (count, m).
// Returns how many did not converge.
inline Index gauss_quadrature(Index count, Index m, const double* alpha, const double* beta, double* nodes,
                              double* weights) {
    Index failed = 0;
#if defined(_OPENMP)
#pragma omp parallel num_threads(num_threads()) reduction(+ : failed) if (count * m * m > 100000)
#endif
    {
        QuadratureWorkspace work;
#if defined(_OPENMP)
#pragma omp for schedule(static)
#endif
        for (Index i = 0; i < count; ++i)
            if (!gauss_quadrature(m, alpha + i * m, beta + i * (m - 1), nodes + i * m, weights + i * m, work)) ++failed;
    }
    return failed;
}

}  // namespace fastlanczos
