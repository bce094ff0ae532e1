// Gauss quadrature of many small tridiagonal matrices, one in each thread; the method is that of ../tridiagonal.hpp.
//
// A thread's implicit QL is one long chain of square roots and divisions, which thousands of threads hide from one
// another. Entry i of all matrices lies together in memory, so that the threads of a warp, which are at about the same
// i, read neighbours. Memory traffic: about 5 m entries a sweep, 1.7 m sweeps, mostly out of the caches.
#pragma once

#include <cfloat>

#include "device.cuh"

namespace fastlanczos::cuda {

constexpr double kSmallSquare = 1e-280;  // as in ../kernels/dispatch.hpp
constexpr int kMatrixThreads = 64;

// Doubles of workspace for `count` matrices of order m.
inline Index quadrature_entries(Index count, Index m) { return 3 * m * count; }

namespace detail {

// A vector of one matrix among `count`: entry i is at [i * count].
struct Strided {
    double* first;
    Index count;
    __device__ double get(Index i) const { return load(first + i * count); }
    __device__ void set(Index i, double x) const { store(first + i * count, x); }
    __device__ void reverse(Index from, Index to) const {
        for (; from < to; ++from, --to) {
            const double x = get(from);
            set(from, get(to));
            set(to, x);
        }
    }
};

__device__ inline bool negligible(double e, double d0, double d1) {
    return e * e <= DBL_EPSILON * DBL_EPSILON * fabs(d0 * d1) + kSmallSquare;
}

// One sweep with Wilkinson's shift on the unreduced block low .. high.
__device__ inline void ql_sweep(Strided d, Strided e, Strided row, Index low, Index high) {
    const double d0 = d.get(low), e0 = e.get(low), ratio = (d.get(low + 1) - d0) / (2.0 * e0);
    const double shift = d0 - e0 / (ratio + copysign(sqrt(ratio * ratio + 1.0), ratio));
    double upper_d = d.get(high), upper_row = row.get(high), g = upper_d - shift;
    double sine = 1.0, cosine = 1.0, p = 0.0;
    for (Index i = high - 1; i >= low; --i) {
        const double di = d.get(i), ei = e.get(i), ri = row.get(i);
        const double f = sine * ei, b = cosine * ei, squares = f * f + g * g, rest = upper_d - p;
        if (squares <= kSmallSquare) {  // the block splits here; its lower part waits for the next sweep
            if (i + 1 < high) e.set(i + 1, 0.0);
            d.set(i + 1, rest);
            row.set(i + 1, upper_row);
            return;
        }
        const double norm = sqrt(squares), s = f / norm, c = g / norm;
        const double t = (di - rest) * s + 2.0 * (c * b), q = s * t;
        if (i + 1 < high) e.set(i + 1, norm);
        d.set(i + 1, rest + q);
        row.set(i + 1, s * ri + c * upper_row);
        upper_row = c * ri - s * upper_row;
        upper_d = di;
        g = c * t - b;
        p = q;
        sine = s;
        cosine = c;
    }
    row.set(low, upper_row);
    d.set(low, upper_d - p);
    e.set(low, g);
}

}  // namespace detail

// alpha (count, m), beta (count, m - 1) -> nodes (count, m, ascending), weights (count, m). failed[t] is 0, 1
// for a matrix that did not converge, or 2 for one with entries that are not finite.
static __global__ void __launch_bounds__(kMatrixThreads)
    quadrature_kernel(Index count, Index m, const double* alpha, const double* beta, double* nodes, double* weights,
                      double* workspace, int* failed) {
    using detail::Strided;
    const Index t = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (t >= count) return;
    const Strided d{workspace + t, count}, e{workspace + m * count + t, count},
        row{workspace + 2 * m * count + t, count};
    double largest = 0.0, poison = 0.0;
    for (Index i = 0; i < m; ++i) {
        const double a = load(alpha + t * m + i), b = i + 1 < m ? load(beta + t * (m - 1) + i) : 0.0;
        poison += 0.0 * a + 0.0 * b;
        largest = fmax(largest, fmax(fabs(a), fabs(b)));
    }
    const bool finite = poison == 0.0;
    const int exponent = finite && largest > 0.0 ? max(-1000, ilogb(largest)) : 0;
    const double down = ldexp(1.0, -exponent);
    for (Index i = 0; i < m; ++i) {
        d.set(i, down * load(alpha + t * m + i));
        e.set(i, i + 1 < m ? down * load(beta + t * (m - 1) + i) : 0.0);
        row.set(i, i == 0 ? 1.0 : 0.0);
    }
    // QL wants the large end of a block last.
    for (Index first = 0; finite && first < m;) {
        Index last = first;
        while (last + 1 < m && !detail::negligible(e.get(last), d.get(last), d.get(last + 1))) ++last;
        if (fabs(d.get(first)) > fabs(d.get(last))) {
            d.reverse(first, last);
            e.reverse(first, last - 1);
            row.reverse(first, last);
        }
        if (last + 1 < m) e.set(last, 0.0);
        first = last + 1;
    }
    Index low = 0;
    for (Index sweeps = 0; finite && low < m - 1 && sweeps <= 60 * m;) {
        Index high = low;
        while (high < m - 1 && !detail::negligible(e.get(high), d.get(high), d.get(high + 1))) ++high;
        if (high < m - 1) e.set(high, 0.0);
        if (high == low) {
            ++low;  // an eigenvalue has come off
            continue;
        }
        detail::ql_sweep(d, e, row, low, high);
        ++sweeps;
    }
    store(failed + t, !finite ? 2 : low < m - 1 ? 1 : 0);
    // Ascending, by insertion: after QL the nodes are nearly in order.
    for (Index i = 0; i < m; ++i) {
        const double x = ldexp(d.get(i), exponent), r = row.get(i);
        Index at = i;
        for (; at > 0 && load(nodes + t * m + at - 1) > x; --at) {
            store(nodes + t * m + at, load(nodes + t * m + at - 1));
            store(weights + t * m + at, load(weights + t * m + at - 1));
        }
        store(nodes + t * m + at, x);
        store(weights + t * m + at, r * r);
    }
}

inline cudaError_t launch_quadrature(Index count, Index m, const double* alpha, const double* beta, double* nodes,
                                     double* weights, double* workspace, int* failed, cudaStream_t stream) {
    const dim3 grid(static_cast<unsigned>((count + kMatrixThreads - 1) / kMatrixThreads)), block(kMatrixThreads);
    void* arguments[] = {&count, &m, &alpha, &beta, &nodes, &weights, &workspace, &failed};
    return cudaLaunchKernel(&quadrature_kernel, grid, block, arguments, 0, stream);
}

}  // namespace fastlanczos::cuda
