// Products with a matrix in the engine's own threads: dense rows, or compressed sparse rows, in float64 or float32.
//
// All arithmetic is in float64 whatever the entries are stored in. Several vectors go through together, so that the
// matrix is read once for all of them; each product has the same bits as if its vector had come alone, whatever the
// number of threads. Subnormal entries count as zeros beside plain ones (subnormals.hpp).
#pragma once

#include <algorithm>
#include <vector>

#include "subnormals.hpp"
#include "threads/pool.hpp"
#include "tiling.hpp"

namespace fastlanczos {

// n x n entries, `stride` apart from row to row.
template <class Value>
struct DenseMatrix {
    Index n = 0;
    const Value* values = nullptr;
    Index stride = 0;
    bool flush = false;  // subnormal numbers count as zeros
};

// Row i has values[k] in columns[k] for row_start[i] <= k < row_start[i + 1].
template <class Value, class Integer>
struct SparseMatrix {
    Index n = 0;
    const Value* values = nullptr;
    const Integer* columns = nullptr;
    const Integer* row_start = nullptr;
    bool flush = false;  // as above
};

namespace detail {

constexpr Index kMatrixChunks = 256;

template <class Value>
inline auto dense_kernel() {
    if constexpr (sizeof(Value) == sizeof(float))
        return kernels().dense_float32;
    else
        return kernels().dense_float64;
}

// finish(c, i, (A x_c)_i) for rows first .. end - 1 and C vectors. Even and odd entries of a row are summed apart: two
// chains of additions keep the processor busier than one.
template <int C, class Value, class Integer, class Finish>
inline void sparse_rows(const SparseMatrix<Value, Integer>& A, Index first, Index end, const double* const* x,
                        const Finish& finish) {
    for (Index i = first; i < end; ++i) {
        double even[C] = {}, odd[C] = {};
        const auto stop = static_cast<Index>(A.row_start[i + 1]);
        auto k = static_cast<Index>(A.row_start[i]);
        for (; k + 1 < stop; k += 2)
            for (int c = 0; c < C; ++c) {
                even[c] += static_cast<double>(A.values[k]) * x[c][A.columns[k]];
                odd[c] += static_cast<double>(A.values[k + 1]) * x[c][A.columns[k + 1]];
            }
        if (k < stop)
            for (int c = 0; c < C; ++c) even[c] += static_cast<double>(A.values[k]) * x[c][A.columns[k]];
        for (int c = 0; c < C; ++c) finish(c, i, even[c] + odd[c]);
    }
}

// rows(chunk, first, end) for at most kMatrixChunks ranges of rows with about equally many entries.
template <class Matrix, class Rows>
inline void for_row_ranges(const Matrix& A, Interrupt* interrupt, const Rows& rows) {
    const auto stored = static_cast<Index>(A.row_start[A.n]);
    const Index work = stored + A.n, chunks = std::max<Index>(1, std::min(work / 4096, kMatrixChunks));
    // The rows that begin within an equal share of the entries.
    const auto row_of = [&](Index chunk) {
        if (chunk == chunks) return A.n;
        const auto share = static_cast<std::decay_t<decltype(*A.row_start)>>(
            static_cast<double>(chunk) / static_cast<double>(chunks) * static_cast<double>(stored));
        return static_cast<Index>(std::lower_bound(A.row_start, A.row_start + A.n, share) - A.row_start);
    };
    const auto range = [&](Index chunk) {
        const SubnormalsAsZeros flushing(A.flush);
        rows(chunk, row_of(chunk), row_of(chunk + 1));
    };
    parallel_for(useful_threads(2 * work), chunks, range, interrupt);
}

}  // namespace detail

// y_c = A x_c for c = 0 .. count - 1. With an interrupt that has been requested y is not complete.
template <class Value>
void multiply(const DenseMatrix<Value>& A, Index count, const double* const* x, double* const* y,
              Interrupt* interrupt = nullptr) {
    const Index blocks = (A.n + 3) / 4, chunks = std::min(blocks, detail::kMatrixChunks);
    const auto rows = [&](Index chunk) {
        const Index first = chunk * blocks / chunks * 4, end = std::min(A.n, (chunk + 1) * blocks / chunks * 4);
        const SubnormalsAsZeros flushing(A.flush);
        detail::dense_kernel<Value>()(A.values, A.stride, first, end, A.n, count, x, y);
    };
    parallel_for(useful_threads(A.n * A.n), chunks, rows, interrupt);
}

// With `looked` each product is inspected beside its vector, with its `factor`, while it is in cache.
template <class Value, class Integer>
void multiply(const SparseMatrix<Value, Integer>& A, Index count, const double* const* x, double* const* y,
              Interrupt* interrupt = nullptr, const double* factor = nullptr, Inspection* looked = nullptr) {
    std::vector<Inspection> parts(static_cast<std::size_t>(looked ? count * detail::kMatrixChunks : 0));
    const auto inspect = [&](Index chunk, Index c, Index first, Index end) {
        if (!looked) return;
        Inspection part;  // on the stack: neighbours in `parts` belong to other threads
        kernels().inspect(x[c] + first, y[c] + first, factor[c], end - first, part);
        parts[static_cast<std::size_t>(c * detail::kMatrixChunks + chunk)] = part;
    };
    detail::for_row_ranges(A, interrupt, [&](Index chunk, Index first, Index end) {
        Index c = 0;
        for (; c + 4 <= count; c += 4) {
            detail::sparse_rows<4>(A, first, end, x + c, [&](int i, Index row, double sum) { y[c + i][row] = sum; });
            for (Index i = 0; i < 4; ++i) inspect(chunk, c + i, first, end);
        }
        for (; c < count; ++c) {
            detail::sparse_rows<1>(A, first, end, x + c, [&](int i, Index row, double sum) { y[c + i][row] = sum; });
            inspect(chunk, c, first, end);
        }
    });
    for (Index c = 0; looked && c < count; ++c) {
        looked[c] = Inspection();
        for (Index chunk = 0; chunk < detail::kMatrixChunks; ++chunk)
            looked[c].add(parts[static_cast<std::size_t>(c * detail::kMatrixChunks + chunk)]);
    }
}

// y = a A x + b x + c y, in the pass of the product. y is not x.
template <class Value, class Integer>
void multiply_add(const SparseMatrix<Value, Integer>& A, const double* x, double* y, double a, double b, double c,
                  Interrupt* interrupt = nullptr) {
    detail::for_row_ranges(A, interrupt, [&](Index, Index first, Index end) {
        if (c == 0.0)  // y may hold anything
            detail::sparse_rows<1>(A, first, end, &x, [&](int, Index i, double sum) { y[i] = a * sum + b * x[i]; });
        else
            detail::sparse_rows<1>(A, first, end, &x,
                                   [&](int, Index i, double sum) { y[i] = a * sum + b * x[i] + c * y[i]; });
    });
}

}  // namespace fastlanczos
