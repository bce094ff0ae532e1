// Runs in a compiler's memory, for PyTorch's operators: NumPy arrays that share the tensors' memory.
#pragma once

#include "arguments.hpp"
#include "fastlanczos/flat_run.hpp"
#include "fastlanczos/rotation.hpp"

namespace flat_calls {

// basis (m, stride) float64 or float32, or of no rows; candidate (n); recent; state (m, w), of which the numbers of
// flat_run.hpp are the first.
inline fastlanczos::flat::Run run_of(py::array& basis, py::array& candidate, py::array& recent, py::array& state) {
    const bool narrow = py::isinstance<py::array_t<float, py::array::c_style>>(basis);
    require(basis.ndim() == 2 && (narrow || is_vector(basis, false)) && is_vector(state, false) && state.ndim() == 2,
            "expected contiguous arrays of a run");
    fastlanczos::flat::Run run;
    run.n = candidate.size();
    run.m = state.shape(0);
    run.basis = basis.shape(0) == 0 ? fastlanczos::Basis::none
                : narrow            ? fastlanczos::Basis::float32
                                    : fastlanczos::Basis::float64;
    const Index kept = run.basis == fastlanczos::Basis::none ? 1 : narrow ? 2 : 0;
    require(run.m >= 1 && run.n >= run.m && is_vector(recent, false) && recent.size() >= kept * run.n &&
                state.size() >= fastlanczos::flat::entries(run.m) &&
                (basis.shape(0) == 0 || (basis.shape(0) >= run.m && basis.shape(1) >= run.n)),
            "the arrays do not belong to a run of this size");
    run.memory.basis = basis.shape(0) == 0 ? nullptr : basis.mutable_data();
    run.memory.stride = basis.shape(1);
    run.memory.candidate = writable_data(candidate, run.n);
    run.memory.recent = static_cast<double*>(recent.mutable_data());
    run.numbers = static_cast<double*>(state.mutable_data());
    return run;
}

template <void (*work)(const fastlanczos::flat::Run&, const double*)>
void with_vector(py::array basis, py::array candidate, py::array recent, py::array state, const py::array& taken) {
    const fastlanczos::flat::Run run = run_of(basis, candidate, recent, state);
    const double* vector = vector_data(taken, run.n);
    py::gil_scoped_release release;
    work(run, vector);
}

// The numbers of a state (m, w): see flat::read.
inline py::array_t<double> read(py::array state) {
    require(is_vector(state, false) && state.ndim() == 2 && state.size() >= fastlanczos::flat::entries(state.shape(0)),
            "expected the contiguous state of a run");
    fastlanczos::flat::Run run;
    run.m = state.shape(0);
    run.numbers = static_cast<double*>(state.mutable_data());
    py::array_t<double> numbers(fastlanczos::flat::entries(run.m));
    fastlanczos::flat::read(run, numbers.mutable_data());
    return numbers;
}

// The first l of k rows become rotation (l, k) times all of them, in place.
inline void rotate(py::array rows, const py::array& rotation) {
    require(is_vector(rows, false) && rows.ndim() == 2 && is_vector(rotation, false) && rotation.ndim() == 2 &&
                rotation.shape(1) == rows.shape(0) && rotation.shape(0) <= rows.shape(0),
            "expected contiguous float64 rows and no more combinations than rows, of all of them");
    const Index k = rows.shape(0), l = rotation.shape(0), n = rows.shape(1);
    auto* data = static_cast<double*>(rows.mutable_data());
    const auto* factors = static_cast<const double*>(rotation.data());
    py::gil_scoped_release release;
    std::vector<double> h(static_cast<std::size_t>(k), 0.0), u(static_cast<std::size_t>(n), 0.0),
        dots(static_cast<std::size_t>(l + 1));
    fastlanczos::rotate_rows(data, n, n, k, l, factors, h.data(), u.data(), dots.data());
}

inline void define(py::module_& module) {
    module.def("begin_flat", &with_vector<&fastlanczos::flat::begin>, py::arg("basis"), py::arg("candidate"),
               py::arg("recent"), py::arg("state"), py::arg("v0"));
    module.def("step_flat", &with_vector<&fastlanczos::flat::advance>, py::arg("basis"), py::arg("candidate"),
               py::arg("recent"), py::arg("state"), py::arg("product"));
    module.def("read_flat", &read, py::arg("state"));
    module.def("rotate", &rotate, py::arg("rows"), py::arg("rotation"));
}

}  // namespace flat_calls
