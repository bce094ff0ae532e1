// Gauss quadrature of symmetric tridiagonal matrices: eigenvalues and squared first components of the eigenvectors.
//
// With T = S diag(theta) S^T of order m, the nodes are theta (ascending) and the weights S_{1,i}^2, so that
// e_1^T f(T) e_1 = sum_i weights_i f(nodes_i). Implicit QL with Wilkinson's shift (Golub and Welsch, "Calculation of
// Gauss quadrature rules", Math. Comp. 23, 1969): the rotations are applied to the first row of S alone, so one matrix
// costs O(m^2) operations and 3 m entries of memory. Eight matrices go through together, one in each lane of the vector
// registers, since a sweep is one long chain of square roots and divisions. Scaled by a power of two, so that no square
// over- or underflows; split wherever an off-diagonal is negligible; graded blocks are turned so that their large end
// comes last.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "threads/pool.hpp"

namespace fastlanczos {

// Memory for eight matrices of one order, kept between calls.
struct QuadratureWorkspace {
    std::vector<double> diagonal, off_diagonal, first_row;  // entry i of lane l at [i * kLanes + l]
    std::vector<double> block;
    std::vector<Index> order;
};

namespace detail {

inline bool negligible(double e, double d0, double d1) {
    constexpr double eps = std::numeric_limits<double>::epsilon();
    return e * e <= eps * eps * std::abs(d0 * d1) + kSmallSquare;
}

// Puts a scaled matrix into a lane, each unreduced block turned so that its large end comes last, as QL wants it.
// Returns the exponent of the scale, or false where an entry is not finite.
inline bool fill_lane(Index m, const double* alpha, const double* beta, Index lane, int& exponent,
                      QuadratureWorkspace& work) {
    double largest = 0.0;
    for (Index i = 0; i < m; ++i) {
        const double b = i + 1 < m ? beta[i] : 0.0;
        if (!std::isfinite(alpha[i]) || !std::isfinite(b)) return false;
        largest = std::max({largest, std::abs(alpha[i]), std::abs(b)});
    }
    exponent = largest > 0.0 ? std::max(-1000, std::ilogb(largest)) : 0;
    const double down = std::ldexp(1.0, -exponent);
    double *d = work.block.data(), *e = d + m, *row = e + m;
    for (Index i = 0; i < m; ++i) {
        d[i] = alpha[i] * down;
        e[i] = i + 1 < m ? beta[i] * down : 0.0;
        row[i] = i == 0 ? 1.0 : 0.0;
    }
    for (Index first = 0; first < m;) {
        Index last = first;
        while (last + 1 < m && !negligible(e[last], d[last], d[last + 1])) ++last;
        if (std::abs(d[first]) > std::abs(d[last])) {
            std::reverse(d + first, d + last + 1);
            std::reverse(e + first, e + last);
            std::reverse(row + first, row + last + 1);
        }
        if (last + 1 < m) e[last] = 0.0;
        first = last + 1;
    }
    for (Index i = 0; i < m; ++i) {
        work.diagonal[static_cast<std::size_t>(i * kLanes + lane)] = d[i];
        work.off_diagonal[static_cast<std::size_t>(i * kLanes + lane)] = e[i];
        work.first_row[static_cast<std::size_t>(i * kLanes + lane)] = row[i];
    }
    return true;
}

// Wilkinson's shift from the top of a block.
inline double shift(double d0, double d1, double e) {
    const double g = (d1 - d0) / (2.0 * e);
    return d0 - e / (g + std::copysign(std::sqrt(g * g + 1.0), g));
}

// Diagonalises the matrices of all lanes in place. False in `converged` where one needs more than 60 sweeps per
// eigenvalue on average (two are usual; strongly graded matrices spend a hundred on their first).
inline void diagonalize_lanes(Index m, bool* converged, QuadratureWorkspace& work) {
    double *d = work.diagonal.data(), *e = work.off_diagonal.data(), *row = work.first_row.data();
    const Kernels& kernel = kernels();
    long long low[kLanes], high[kLanes], first[kLanes];
    double shifts[kLanes] = {};
    for (Index lane = 0; lane < kLanes; ++lane) {
        low[lane] = 0;
        high[lane] = m - 1;
    }
    for (Index sweeps = 0;; ++sweeps) {
        long long ends[kLanes];
        for (Index lane = 0; lane < kLanes; ++lane) ends[lane] = m - 1;
        kernel.find_blocks(d, e, low, ends, first);
        bool finished = true;
        for (Index lane = 0; lane < kLanes; ++lane) {
            const auto at = [lane](Index i) { return i * kLanes + lane; };
            long long& l = low[lane];
            long long end = first[lane];
            while (end == l && l < m - 1) {  // an eigenvalue has come off; look for the next block
                e[at(l)] = 0.0;
                ++l;
                end = l;
                while (end < m - 1 && !negligible(e[at(end)], d[at(end)], d[at(end + 1)])) ++end;
            }
            high[lane] = end;
            if (l >= m - 1) {
                l = high[lane] = m - 1;
                continue;
            }
            if (end < m - 1) e[at(end)] = 0.0;
            shifts[lane] = shift(d[at(l)], d[at(l + 1)], e[at(l)]);
            finished = false;
        }
        if (finished) return;
        if (sweeps > 60 * m) {
            for (Index lane = 0; lane < kLanes; ++lane) converged[lane] = converged[lane] && low[lane] >= m - 1;
            return;
        }
        kernel.ql_sweep(d, e, row, low, high, shifts);
    }
}

}  // namespace detail

// Up to eight matrices of order m, one after another in memory: alpha (count, m), beta (count, m - 1) -> nodes
// (count, m, ascending), weights (count, m). Returns how many did not converge, which needs entries that are not
// finite.
inline Index gauss_quadrature(Index count, Index m, const double* alpha, const double* beta, double* nodes,
                              double* weights, QuadratureWorkspace& work) {
    const auto size = static_cast<std::size_t>(m);
    work.diagonal.assign(size * kLanes, 0.0);
    work.off_diagonal.assign(size * kLanes, 0.0);
    work.first_row.assign(size * kLanes, 0.0);
    work.block.resize(3 * size);
    work.order.resize(size);
    int exponent[kLanes] = {};
    bool converged[kLanes];
    for (Index lane = 0; lane < kLanes; ++lane)
        converged[lane] =
            lane >= count || detail::fill_lane(m, alpha + lane * m, beta + lane * (m - 1), lane, exponent[lane], work);
    detail::diagonalize_lanes(m, converged, work);

    Index failed = 0;
    for (Index lane = 0; lane < count; ++lane) {
        if (!converged[lane]) ++failed;
        const double *d = work.diagonal.data() + lane, *row = work.first_row.data() + lane;
        std::iota(work.order.begin(), work.order.end(), Index{0});
        std::sort(work.order.begin(), work.order.end(),
                  [d](Index i, Index j) { return d[i * kLanes] < d[j * kLanes]; });
        for (Index i = 0; i < m; ++i) {
            const Index from = work.order[static_cast<std::size_t>(i)] * kLanes;
            nodes[lane * m + i] = std::ldexp(d[from], exponent[lane]);
            weights[lane * m + i] = row[from] * row[from];
        }
    }
    return failed;
}

// Any number of matrices, shared among the threads. Returns how many did not converge.
inline Index gauss_quadrature(Index count, Index m, const double* alpha, const double* beta, double* nodes,
                              double* weights) {
    const Index groups = (count + kLanes - 1) / kLanes;
    const Index useful = std::max<Index>(1, count * m * m / 50000);  // a group of 8 is worth m^2 / 25 microseconds
    std::atomic<Index> failed{0};
    const auto solve = [&](Index group) {
        QuadratureWorkspace work;
        const Index i = group * kLanes, some = std::min(kLanes, count - i);
        failed += gauss_quadrature(some, m, alpha + i * m, beta + i * (m - 1), nodes + i * m, weights + i * m, work);
    };
    parallel_for(static_cast<int>(std::min<Index>(useful, num_threads())), groups, solve);
    return failed;
}

}  // namespace fastlanczos
