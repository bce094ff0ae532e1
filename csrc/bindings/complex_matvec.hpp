// Complex Hermitian matrices, complex128 or complex64, as native operators.
#pragma once

#include <complex>

#include "fastlanczos/complex_matrix.hpp"
#include "matvec.hpp"

// A (n, n) array with contiguous rows, which is kept and not copied.
template <class Value>
class ComplexDenseMatvec : public MatrixMatvec<fastlanczos::ComplexDenseMatrix<Value>> {
    using Base = MatrixMatvec<fastlanczos::ComplexDenseMatrix<Value>>;
    using Base::dim, Base::matrix_;

public:
    explicit ComplexDenseMatvec(py::array_t<std::complex<Value>> values)
        : Base(values.shape(0), Field::complex), values_(std::move(values)) {
        const Index size = sizeof(std::complex<Value>);
        require(values_.ndim() == 2 && values_.shape(1) == dim() && (dim() == 1 || values_.strides(1) == size) &&
                    values_.strides(0) % size == 0,
                "expected a square array with contiguous rows");
        const auto* entries = reinterpret_cast<const Value*>(values_.data());
        const Index stride = values_.strides(0) / Index{sizeof(Value)};
        bool flush = false;
        for (Index i = 0; i < dim() && !flush; ++i)
            flush = fastlanczos::dwarfs_subnormals(entries + i * stride, 2 * dim());
        matrix_ = {dim(), entries, stride, flush};
    }

    Index nbytes() const override { return dim() * dim() * Index{sizeof(std::complex<Value>)}; }

private:
    py::array_t<std::complex<Value>> values_;
};

// Compressed sparse rows in three contiguous arrays, which are kept and not copied. Indices out of range are refused.
template <class Value, class Integer>
class ComplexSparseMatvec : public MatrixMatvec<fastlanczos::ComplexSparseMatrix<Value, Integer>> {
    using Base = MatrixMatvec<fastlanczos::ComplexSparseMatrix<Value, Integer>>;
    using Base::dim, Base::matrix_;

public:
    ComplexSparseMatvec(py::array_t<std::complex<Value>> values, py::array_t<Integer> columns,
                        py::array_t<Integer> row_start)
        : Base(row_start.size() - 1, Field::complex),
          values_(std::move(values)),
          columns_(std::move(columns)),
          row_start_(std::move(row_start)) {
        const Index stored = check_sparse(values_, columns_, row_start_, dim());
        matrix_ = {dim(), reinterpret_cast<const Value*>(values_.data()), columns_.data(), row_start_.data(), false};
        matrix_.flush = fastlanczos::dwarfs_subnormals(matrix_.values, 2 * stored);
    }

    Index nbytes() const override {
        return static_cast<Index>(matrix_.row_start[dim()]) * Index{sizeof(std::complex<Value>) + sizeof(Integer)};
    }

    bool multiply_and_look(Index count, const double* const* x, double* const* y, const double* factor,
                           fastlanczos::Inspection* looked, fastlanczos::Interrupt* interrupt) const override {
        fastlanczos::multiply(matrix_, count, x, y, interrupt, factor, looked);
        return true;
    }

private:
    py::array_t<std::complex<Value>> values_;
    py::array_t<Integer> columns_, row_start_;
};
