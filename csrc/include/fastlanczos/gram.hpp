// Products with B^T B, where B is a tall matrix of the engine's, or one less c d^T, that is read once for both factors.
//
// A row b_i of B gives s_i = b_i . x, and while it is in cache b_i s_i is added to the result. Rows are shared out over
// a number of chunks that depends on the matrix alone, each with a sum of its own, and the sums are added in their
// order: the result has the same bits whatever the number of threads. With c d^T, s_i = b_i . x - c_i (d . x), and
// d (c . s) is subtracted at the end: the columns' means are subtracted before anything cancels, and B stays sparse.
#pragma once

#include <algorithm>
#include <vector>

#include "matrix.hpp"

namespace fastlanczos {

// M x n entries, `stride` apart from row to row.
template <class Value>
struct TallDense {
    Index rows = 0;
    Index n = 0;
    const Value* values = nullptr;
    Index stride = 0;
    bool flush = false;  // subnormal numbers count as zeros

    Index stored() const { return rows * n; }
};

template <class Value, class Integer>
struct TallSparse {
    Index rows = 0;
    Index n = 0;
    const Value* values = nullptr;
    const Integer* columns = nullptr;
    const Integer* row_start = nullptr;
    bool flush = false;

    Index stored() const { return static_cast<Index>(row_start[rows]); }
};

// c d^T, M x n; none where c is nullptr.
struct RankOne {
    const double* c = nullptr;
    const double* d = nullptr;
};

namespace detail {

constexpr Index kGramChunks = 16;

template <class Value>
inline auto combine_kernel() {
    if constexpr (sizeof(Value) == sizeof(float))
        return kernels().combine_float32;
    else
        return kernels().combine_float64;
}

constexpr Index kRowsTogether = 16;  // of a dense matrix, which stay in cache from the first factor to the second

// Sums of chunks are worth their memory where a chunk has this many entries for each of its sum's.
constexpr Index kEntriesPerSum = 4;

template <class Matrix>
inline Index gram_chunks(const Matrix& B) {
    return std::max<Index>(1, std::min({kGramChunks, B.stored() / (kEntriesPerSum * B.n), B.rows}));
}

// s_i for rows first .. end - 1 of x, and their part of the result: shift is d . x.
template <class Value>
inline void gram_rows(const TallDense<Value>& B, Index first, Index end, const double* x, double shift, const double* c,
                      double* y, double& weight) {
    double s[kRowsTogether];
    for (Index i = first; i < end; i += kRowsTogether) {
        const Index count = std::min(kRowsTogether, end - i);
        const Value* rows = B.values + i * B.stride;
        double* to = s;
        dense_kernel<Value>()(rows, B.stride, 0, count, B.n, 1, &x, &to);
        if (c)
            for (Index r = 0; r < count; ++r) {
                s[r] -= c[i + r] * shift;
                weight += c[i + r] * s[r];
            }
        combine_kernel<Value>()(rows, B.stride, count, B.n, s, y);
    }
}

template <class Value, class Integer>
inline void gram_rows(const TallSparse<Value, Integer>& B, Index first, Index end, const double* x, double shift,
                      const double* c, double* y, double& weight) {
    for (Index i = first; i < end; ++i) {
        const auto from = static_cast<Index>(B.row_start[i]), stop = static_cast<Index>(B.row_start[i + 1]);
        double sums[4] = {};
        Index k = from;
        for (; k + 4 <= stop; k += 4)
            for (int l = 0; l < 4; ++l) sums[l] += static_cast<double>(B.values[k + l]) * x[B.columns[k + l]];
        for (; k < stop; ++k) sums[0] += static_cast<double>(B.values[k]) * x[B.columns[k]];
        double s = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        if (c) {
            s -= c[i] * shift;
            weight += c[i] * s;
        }
        for (k = from; k < stop; ++k) y[B.columns[k]] += static_cast<double>(B.values[k]) * s;
    }
}

template <class Value>
inline Index first_row(const TallDense<Value>& B, Index chunk, Index chunks) {
    return chunk * B.rows / chunks;
}

// The rows that begin within an equal share of the entries.
template <class Value, class Integer>
inline Index first_row(const TallSparse<Value, Integer>& B, Index chunk, Index chunks) {
    if (chunk == 0) return 0;
    if (chunk == chunks) return B.rows;
    const auto share = static_cast<Integer>(static_cast<double>(chunk) / static_cast<double>(chunks) *
                                            static_cast<double>(B.stored()));
    return static_cast<Index>(std::lower_bound(B.row_start, B.row_start + B.rows, share) - B.row_start);
}

}  // namespace detail

// Entries of memory that a product needs.
template <class Matrix>
Index gram_scratch(const Matrix& B) {
    return (detail::gram_chunks(B) - 1) * B.n;
}

// y = (B - c d^T)^T (B - c d^T) x; y is not x. With an interrupt that has been requested y is not complete. `others` is
// memory for gram_scratch(B) entries.
template <class Matrix>
void gram_multiply(const Matrix& B, const RankOne& less, const double* x, double* y, double* others,
                   Interrupt* interrupt = nullptr) {
    const Index chunks = detail::gram_chunks(B), n = B.n;
    double shift = 0.0;
    if (less.c)
        for (Index j = 0; j < n; ++j) shift += less.d[j] * x[j];
    std::vector<double> weights(static_cast<std::size_t>(chunks), 0.0);
    const auto work = [&](Index chunk) {
        const SubnormalsAsZeros flushing(B.flush);
        double* own = chunk == 0 ? y : others + (chunk - 1) * n;
        std::fill(own, own + n, 0.0);
        double weight = 0.0;
        detail::gram_rows(B, detail::first_row(B, chunk, chunks), detail::first_row(B, chunk + 1, chunks), x, shift,
                          less.c, own, weight);
        weights[static_cast<std::size_t>(chunk)] = weight;
    };
    parallel_for(useful_threads(4 * B.stored()), chunks, work, interrupt);
    double weight = 0.0;
    for (const double part : weights) weight += part;
    const Tiling tiling(n, 0);
    const auto add = [&](Index tile) {
        const Index first = tiling.first_column(tile), end = tiling.end_column(tile);
        for (Index chunk = 0; chunk + 1 < chunks; ++chunk)
            for (Index j = first; j < end; ++j) y[j] += others[chunk * n + j];
        if (less.c)
            for (Index j = first; j < end; ++j) y[j] -= less.d[j] * weight;
    };
    parallel_for(useful_threads(chunks * n), tiling.chunks, add);
}

}  // namespace fastlanczos
