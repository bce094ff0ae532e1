// Checks of what Python passes in: for what would crash. What arguments mean is checked, and told to the user, in
// Python.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "fastlanczos/kernels/dispatch.hpp"

namespace py = pybind11;
using fastlanczos::Index;
using Vector = py::array_t<double, py::array::c_style>;

inline void require(bool condition, const char* message) {
    if (!condition) throw py::value_error(message);
}

// The data of a float64 vector that is contiguous and of the given length; never a copy.
inline const double* vector_data(const py::array& x, Index length) {
    require(py::isinstance<Vector>(x) && x.ndim() == 1 && x.shape(0) == length,
            "expected a contiguous float64 vector of the operator's dimension");
    return static_cast<const double*>(x.data());
}

inline double* writable_data(py::array& x, Index length) {
    vector_data(x, length);
    return static_cast<double*>(x.mutable_data());
}

// The data of a contiguous (count, length) float64 array.
inline const double* block_data(const py::array& x, Index count, Index length) {
    require(py::isinstance<Vector>(x) && x.ndim() == 2 && x.shape(0) == count && x.shape(1) == length,
            "expected a contiguous (vectors, dimension) float64 array");
    return static_cast<const double*>(x.data());
}

inline double* writable_block_data(py::array& x, Index count, Index length) {
    block_data(x, count, length);
    return static_cast<double*>(x.mutable_data());
}
