// A bidiagonalization in NumPy's memory.
#pragma once

#include <pybind11/stl.h>

#include "arguments.hpp"
#include "fastlanczos/bidiagonal.hpp"
#include "fastlanczos/huge_pages.hpp"

// `left` and `right` are rows (most, m) and (most, n), float64 or complex128, `left_vector` and `right_vector` the
// candidates, whose products are taken by turns.
class Bidiagonal {
public:
    Bidiagonal(py::array left, py::array right, py::array left_vector, py::array right_vector)
        : left_(std::move(left)),
          right_(std::move(right)),
          left_vector_(std::move(left_vector)),
          right_vector_(std::move(right_vector)),
          is_complex_(py::isinstance<ComplexVector>(right_vector_)),
          run_(memory(left_, left_vector_), memory(right_, right_vector_), left_.shape(0),
               is_complex_ ? Field::complex : Field::real) {
        require(left_.shape(0) == right_.shape(0), "expected as many left rows as right ones");
    }

    bool start(const py::array& v0) {
        const double* data = vector_data(v0, right_.shape(1), is_complex_);
        py::gil_scoped_release release;
        return run_.start(data);
    }

    bool take_left(const py::array& x) {
        const double* data = vector_data(x, left_.shape(1), is_complex_);
        py::gil_scoped_release release;
        return run_.take_left(data);
    }

    bool take_right(const py::array& y) {
        const double* data = vector_data(y, right_.shape(1), is_complex_);
        py::gil_scoped_release release;
        return run_.take_right(data);
    }

    const fastlanczos::Bidiagonalization& run() const { return run_; }

private:
    fastlanczos::Bidiagonalization::Memory memory(py::array& rows, py::array& vector) const {
        require(is_vector(rows, is_complex_) && rows.ndim() == 2, "expected contiguous rows, as the vectors are");
        const Index dim = rows.shape(1);
        fastlanczos::request_huge_pages(rows.mutable_data(), static_cast<std::size_t>(rows.nbytes()));
        return {dim, static_cast<double*>(rows.mutable_data()), is_complex_ ? 2 * dim : dim,
                writable_data(vector, dim, is_complex_)};
    }

    py::array left_, right_, left_vector_, right_vector_;
    bool is_complex_;
    fastlanczos::Bidiagonalization run_;
};
