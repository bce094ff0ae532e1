// Operators B^T B of matrices that are kept in memory, for singular values: no Python between the factors.
#pragma once

#include <vector>

#include "fastlanczos/gram.hpp"
#include "matvec.hpp"

// B in memory that a derived class keeps alive, less c d^T where these are given.
template <class Matrix>
class GramMatvec : public Matvec {
public:
    GramMatvec(Index dim, py::array_t<double> c, py::array_t<double> d)
        : Matvec(dim), c_(std::move(c)), d_(std::move(d)) {}

    using Matvec::multiply;
    void multiply(Index count, const double* const* x, double* const* y,
                  fastlanczos::Interrupt* interrupt) const override {
        for (Index i = 0; i < count; ++i) {
            if (interrupt && interrupt->requested()) return;
            fastlanczos::gram_multiply(matrix_, less_, x[i], y[i], scratch_.data(), interrupt);
        }
    }
    bool only_reads() const override { return true; }
    Index nbytes() const override { return nbytes_; }

protected:
    // Once matrix_ is set.
    void prepare(Index nbytes) {
        const auto contiguous = [](const py::array& x, Index size) {
            return x.ndim() == 1 && x.size() == size && (size < 2 || x.strides(0) == x.itemsize());
        };
        if (c_.size() > 0 || d_.size() > 0) {
            require(contiguous(c_, matrix_.rows) && contiguous(d_, dim()),
                    "expected contiguous vectors c, of as many entries as rows, and d, of as many as columns");
            less_ = {c_.data(), d_.data()};
        }
        scratch_.resize(static_cast<std::size_t>(fastlanczos::gram_scratch(matrix_)));
        nbytes_ = nbytes;
    }

    Matrix matrix_;

private:
    py::array_t<double> c_, d_;
    fastlanczos::RankOne less_;
    Index nbytes_ = 0;
    mutable std::vector<double> scratch_;
};

// Of a (m, n) array with contiguous rows.
template <class Value>
class DenseGram : public GramMatvec<fastlanczos::TallDense<Value>> {
    using Base = GramMatvec<fastlanczos::TallDense<Value>>;
    using Base::dim, Base::matrix_;

public:
    DenseGram(py::array_t<Value> values, py::array_t<double> c, py::array_t<double> d)
        : Base(values.ndim() == 2 ? values.shape(1) : 0, std::move(c), std::move(d)), values_(std::move(values)) {
        const Index size = sizeof(Value), rows = values_.shape(0);
        require((dim() == 1 || values_.strides(1) == size) && values_.strides(0) % size == 0,
                "expected an array with contiguous rows");
        const Index stride = values_.strides(0) / size;
        matrix_ = {rows, dim(), values_.data(), stride, false};
        for (Index i = 0; i < rows && !matrix_.flush; ++i)
            matrix_.flush = fastlanczos::dwarfs_subnormals(matrix_.values + i * stride, dim());
        Base::prepare(rows * dim() * size);
    }

private:
    py::array_t<Value> values_;
};

// Of compressed sparse rows with n columns, in three contiguous arrays.
template <class Value, class Integer>
class SparseGram : public GramMatvec<fastlanczos::TallSparse<Value, Integer>> {
    using Base = GramMatvec<fastlanczos::TallSparse<Value, Integer>>;
    using Base::dim, Base::matrix_;

public:
    SparseGram(py::array_t<Value> values, py::array_t<Integer> columns, py::array_t<Integer> row_start, Index dim_,
               py::array_t<double> c, py::array_t<double> d)
        : Base(dim_, std::move(c), std::move(d)),
          values_(std::move(values)),
          columns_(std::move(columns)),
          row_start_(std::move(row_start)) {
        check_sparse(values_, columns_, row_start_, dim());
        const Index rows = row_start_.size() - 1;
        matrix_ = {rows, dim(), values_.data(), columns_.data(), row_start_.data(), false};
        matrix_.flush = fastlanczos::dwarfs_subnormals(matrix_.values, matrix_.stored());
        Base::prepare(matrix_.stored() * Index{sizeof(Value) + sizeof(Integer)});
    }

private:
    py::array_t<Value> values_;
    py::array_t<Integer> columns_, row_start_;
};
