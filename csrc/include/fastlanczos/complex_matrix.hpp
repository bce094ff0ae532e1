// Products with complex matrices: dense rows, or compressed sparse rows, of complex128 or complex64.
//
// Complex numbers are pairs of float64 (of float32, in the matrix), real part first. A dense complex row is a real one
// of twice the length: its product with x is that of the real row with (re x, -im x) and with (im x, re x), for which
// the matrix is read once. Bits, vectors together and subnormal entries are as in matrix.hpp.
#pragma once

#include "matrix.hpp"

namespace fastlanczos {

// n x n entries, rows `stride` real numbers apart.
template <class Value>
struct ComplexDenseMatrix {
    Index n = 0;
    const Value* values = nullptr;
    Index stride = 0;
    bool flush = false;  // subnormal numbers count as zeros
};

// Row i has values[2 k] + i values[2 k + 1] in columns[k] for row_start[i] <= k < row_start[i + 1].
template <class Value, class Integer>
struct ComplexSparseMatrix {
    Index n = 0;
    const Value* values = nullptr;
    const Integer* columns = nullptr;
    const Integer* row_start = nullptr;
    bool flush = false;
};

namespace detail {

// finish(c, i, re, im) of (A x_c)_i for rows first .. end - 1 and C vectors. The four real products of an entry are
// summed apart.
template <int C, class Value, class Integer, class Finish>
inline void complex_sparse_rows(const ComplexSparseMatrix<Value, Integer>& A, Index first, Index end,
                                const double* const* x, const Finish& finish) {
    for (Index i = first; i < end; ++i) {
        double rr[C] = {}, ii[C] = {}, ri[C] = {}, ir[C] = {};
        const auto stop = static_cast<Index>(A.row_start[i + 1]);
        for (auto k = static_cast<Index>(A.row_start[i]); k < stop; ++k) {
            const double re = A.values[2 * k], im = A.values[2 * k + 1];
            for (int c = 0; c < C; ++c) {
                const double* xk = x[c] + 2 * static_cast<Index>(A.columns[k]);
                rr[c] += re * xk[0];
                ii[c] += im * xk[1];
                ri[c] += re * xk[1];
                ir[c] += im * xk[0];
            }
        }
        for (int c = 0; c < C; ++c) finish(c, i, rr[c] - ii[c], ri[c] + ir[c]);
    }
}

}  // namespace detail

// y_c = A x_c for c = 0 .. count - 1. With an interrupt that has been requested y is not complete.
template <class Value>
void multiply(const ComplexDenseMatrix<Value>& A, Index count, const double* const* x, double* const* y,
              Interrupt* interrupt = nullptr) {
    const Index n = A.n, blocks = (n + 3) / 4, chunks = std::min(blocks, detail::kMatrixChunks);
    std::vector<double> turned(static_cast<std::size_t>(4 * n * count));
    std::vector<const double*> turned_x;
    for (Index c = 0; c < count; ++c) {
        double *conjugate = turned.data() + 4 * n * c, *swapped = conjugate + 2 * n;
        for (Index j = 0; j < 2 * n; j += 2) {
            conjugate[j] = swapped[j + 1] = x[c][j];
            swapped[j] = x[c][j + 1];
            conjugate[j + 1] = -x[c][j + 1];
        }
        turned_x.push_back(conjugate);
        turned_x.push_back(swapped);
    }
    const auto rows = [&](Index chunk) {
        const Index first = chunk * blocks / chunks * 4, end = std::min(n, (chunk + 1) * blocks / chunks * 4);
        const Index height = end - first;
        std::vector<double> parts(static_cast<std::size_t>(2 * count * height));
        std::vector<double*> parts_of;
        for (Index c = 0; c < 2 * count; ++c) parts_of.push_back(parts.data() + c * height);
        const SubnormalsAsZeros flushing(A.flush);
        detail::dense_kernel<Value>()(A.values + first * A.stride, A.stride, 0, height, 2 * n, 2 * count,
                                      turned_x.data(), parts_of.data());
        for (Index c = 0; c < count; ++c)
            for (Index i = 0; i < height; ++i) {
                y[c][2 * (first + i)] = parts_of[static_cast<std::size_t>(2 * c)][i];
                y[c][2 * (first + i) + 1] = parts_of[static_cast<std::size_t>(2 * c + 1)][i];
            }
    };
    parallel_for(useful_threads(2 * n * n), chunks, rows, interrupt);
}

// With `looked` each product is inspected beside its vector, with its `factor`, while it is in cache.
template <class Value, class Integer>
void multiply(const ComplexSparseMatrix<Value, Integer>& A, Index count, const double* const* x, double* const* y,
              Interrupt* interrupt = nullptr, const double* factor = nullptr, Inspection* looked = nullptr) {
    std::vector<Inspection> parts(static_cast<std::size_t>(looked ? count * detail::kMatrixChunks : 0));
    detail::for_row_ranges(A, interrupt, [&](Index chunk, Index first, Index end) {
        const auto rows = [&](auto vectors, Index c) {
            detail::complex_sparse_rows<decltype(vectors)::value>(A, first, end, x + c,
                                                                  [&](int i, Index row, double re, double im) {
                                                                      y[c + i][2 * row] = re;
                                                                      y[c + i][2 * row + 1] = im;
                                                                  });
            for (Index i = c; looked && i < c + decltype(vectors)::value; ++i) {
                Inspection part;  // on the stack: neighbours in `parts` belong to other threads
                kernels().inspect(x[i] + 2 * first, y[i] + 2 * first, factor[i], 2 * (end - first), part);
                parts[static_cast<std::size_t>(i * detail::kMatrixChunks + chunk)] = part;
            }
        };
        Index c = 0;
        for (; c + 4 <= count; c += 4) rows(std::integral_constant<int, 4>(), c);
        for (; c < count; ++c) rows(std::integral_constant<int, 1>(), c);
    });
    for (Index c = 0; looked && c < count; ++c) {
        looked[c] = Inspection();
        for (Index chunk = 0; chunk < detail::kMatrixChunks; ++chunk)
            looked[c].add(parts[static_cast<std::size_t>(c * detail::kMatrixChunks + chunk)]);
    }
}

}  // namespace fastlanczos
