// Checks of what Python passes in: for what would crash. What arguments mean is checked, and told to the user, in
// Python.
#pragma once

#include <pybind11/complex.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "fastlanczos/kernels/dispatch.hpp"

namespace py = pybind11;
using fastlanczos::Field;
using fastlanczos::Index;
using Vector = py::array_t<double, py::array::c_style>;
using ComplexVector = py::array_t<std::complex<double>, py::array::c_style>;

inline void require(bool condition, const char* message) {
    if (!condition) throw py::value_error(message);
}

// Whether x is a contiguous array of float64 or, where wanted, of complex128, whose entries are pairs of float64.
inline bool is_vector(const py::array& x, bool complex) {
    return complex ? py::isinstance<ComplexVector>(x) : py::isinstance<Vector>(x);
}

// The data of a float64 or complex128 vector that is contiguous and of the given length; never a copy.
inline const double* vector_data(const py::array& x, Index length, bool complex = false) {
    require(is_vector(x, complex) && x.ndim() == 1 && x.shape(0) == length,
            complex ? "expected a contiguous complex128 vector of the operator's dimension"
                    : "expected a contiguous float64 vector of the operator's dimension");
    return static_cast<const double*>(x.data());
}

inline double* writable_data(py::array& x, Index length, bool complex = false) {
    vector_data(x, length, complex);
    return static_cast<double*>(x.mutable_data());
}

// The data of a contiguous (count, length) array of either.
inline const double* block_data(const py::array& x, Index count, Index length, bool complex = false) {
    require(is_vector(x, complex) && x.ndim() == 2 && x.shape(0) == count && x.shape(1) == length,
            complex ? "expected a contiguous (vectors, dimension) complex128 array"
                    : "expected a contiguous (vectors, dimension) float64 array");
    return static_cast<const double*>(x.data());
}

inline double* writable_block_data(py::array& x, Index count, Index length, bool complex = false) {
    block_data(x, count, length, complex);
    return static_cast<double*>(x.mutable_data());
}
