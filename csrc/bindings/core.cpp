// fastlanczos._core: the C++ headers as a Python module.
#include <string>

#include "arguments.hpp"
#include "bidiagonal.hpp"
#include "complex_matvec.hpp"
#include "fastlanczos/c_interface.hpp"
#include "fastlanczos/tridiagonal.hpp"
#include "flat.hpp"
#include "gram.hpp"
#include "matvec.hpp"
#include "run.hpp"
#include "xla.hpp"

#if defined(_WIN32)
#define FASTLANCZOS_EXPORT extern "C" __declspec(dllexport)
#else
#define FASTLANCZOS_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// For programs that look for thread pools in a process, such as threadpoolctl.
FASTLANCZOS_EXPORT int fastlanczos_get_num_threads() { return fastlanczos::num_threads(); }
FASTLANCZOS_EXPORT void fastlanczos_set_num_threads(int threads) {
    fastlanczos::thread_limit().store(std::max(threads, 1));
}

namespace {

py::tuple quadrature(const py::array& alpha, const py::array& beta) {
    require(py::isinstance<Vector>(alpha) && py::isinstance<Vector>(beta) && alpha.ndim() == 2 && beta.ndim() == 2 &&
                alpha.shape(1) >= 1 && beta.shape(0) == alpha.shape(0) && beta.shape(1) == alpha.shape(1) - 1,
            "expected contiguous float64 arrays alpha (count, m) and beta (count, m - 1)");
    const Index count = alpha.shape(0), m = alpha.shape(1);
    py::array_t<double> nodes({count, m}), weights({count, m});
    const auto* a = static_cast<const double*>(alpha.data());
    const auto* b = static_cast<const double*>(beta.data());
    double *x = nodes.mutable_data(), *w = weights.mutable_data();
    Index failed = 0;
    {
        py::gil_scoped_release release;
        failed = fastlanczos::gauss_quadrature(count, m, a, b, x, w);
    }
    return py::make_tuple(nodes, weights, failed);
}

py::dict build() {
    py::dict d;
#if defined(__clang__)
    d["compiler"] = "clang " __clang_version__;
#elif defined(__GNUC__)
    d["compiler"] = "g++ " __VERSION__;
#elif defined(_MSC_VER)
    d["compiler"] = "MSVC " + std::to_string(_MSC_VER);
#else
    d["compiler"] = "unknown";
#endif
#if defined(__SANITIZE_ADDRESS__)
    d["sanitizer"] = "address";
#elif defined(__SANITIZE_THREAD__)
    d["sanitizer"] = "thread";
#else
    d["sanitizer"] = py::none();
#endif
    d["instruction_set"] = fastlanczos::kernels().instruction_set;
    return d;
}

template <class Value>
void define_dense_gram(py::module_& module, const char* name) {
    py::class_<DenseGram<Value>, Matvec>(module, name)
        .def(py::init<py::array_t<Value>, py::array_t<double>, py::array_t<double>>(), py::arg("values").noconvert(),
             py::arg("c").noconvert(), py::arg("d").noconvert());
}

template <class Value, class Integer>
void define_sparse_gram(py::module_& module, const char* name) {
    py::class_<SparseGram<Value, Integer>, Matvec>(module, name)
        .def(py::init<py::array_t<Value>, py::array_t<Integer>, py::array_t<Integer>, Index, py::array_t<double>,
                      py::array_t<double>>(),
             py::arg("values").noconvert(), py::arg("columns").noconvert(), py::arg("row_start").noconvert(),
             py::arg("dim"), py::arg("c").noconvert(), py::arg("d").noconvert());
}

template <class Value>
void define_complex_dense(py::module_& module, const char* name) {
    py::class_<ComplexDenseMatvec<Value>, Matvec>(module, name)
        .def(py::init<py::array_t<std::complex<Value>>>(), py::arg("values").noconvert());
}

template <class Value, class Integer>
void define_complex_sparse(py::module_& module, const char* name) {
    py::class_<ComplexSparseMatvec<Value, Integer>, Matvec>(module, name)
        .def(py::init<py::array_t<std::complex<Value>>, py::array_t<Integer>, py::array_t<Integer>>(),
             py::arg("values").noconvert(), py::arg("columns").noconvert(), py::arg("row_start").noconvert());
}

template <class Value, class Integer>
void define_sparse(py::module_& module, const char* name) {
    py::class_<SparseMatvec<Value, Integer>, Matvec>(module, name)
        .def(py::init<py::array_t<Value>, py::array_t<Integer>, py::array_t<Integer>>(), py::arg("values").noconvert(),
             py::arg("columns").noconvert(), py::arg("row_start").noconvert());
}

}  // namespace

PYBIND11_MODULE(_core, module) {
    module.doc() =
        "Compiled core of fastlanczos: the reorthogonalized Lanczos step, native products, and the quadrature of "
        "tridiagonals.";

    py::enum_<Outcome>(module, "Outcome")
        .value("running", Outcome::running)
        .value("complete", Outcome::complete)
        .value("breakdown", Outcome::breakdown)
        .value("not_finite", Outcome::not_finite)
        .value("interrupted", Outcome::interrupted);

    py::class_<Matvec>(module, "Matvec")
        .def_property_readonly("dim", &Matvec::dim)
        .def_property_readonly("is_complex", &Matvec::is_complex)
        .def_property_readonly("nbytes", &Matvec::nbytes)
        .def("multiply", py::overload_cast<const py::array&, py::array&>(&Matvec::multiply, py::const_), py::arg("x"),
             py::arg("y"));
    py::class_<FunctionMatvec, Matvec>(module, "FunctionMatvec")
        .def(py::init<const py::object&, Index, bool, bool>(), py::arg("capsule"), py::arg("dim"),
             py::arg("returns_status"), py::arg("takes_data"));
    py::class_<DenseMatvec<double>, Matvec>(module, "DenseMatvec64")
        .def(py::init<py::array_t<double>>(), py::arg("values").noconvert());
    py::class_<DenseMatvec<float>, Matvec>(module, "DenseMatvec32")
        .def(py::init<py::array_t<float>>(), py::arg("values").noconvert());
    define_sparse<double, std::int32_t>(module, "SparseMatvec64With32");
    define_sparse<double, std::int64_t>(module, "SparseMatvec64With64");
    define_sparse<float, std::int32_t>(module, "SparseMatvec32With32");
    define_sparse<float, std::int64_t>(module, "SparseMatvec32With64");

    define_complex_dense<double>(module, "ComplexDenseMatvec128");
    define_complex_dense<float>(module, "ComplexDenseMatvec64");
    define_complex_sparse<double, std::int32_t>(module, "ComplexSparseMatvec128With32");
    define_complex_sparse<double, std::int64_t>(module, "ComplexSparseMatvec128With64");
    define_complex_sparse<float, std::int32_t>(module, "ComplexSparseMatvec64With32");
    define_complex_sparse<float, std::int64_t>(module, "ComplexSparseMatvec64With64");

    define_dense_gram<double>(module, "DenseGram64");
    define_dense_gram<float>(module, "DenseGram32");
    define_sparse_gram<double, std::int32_t>(module, "SparseGram64With32");
    define_sparse_gram<double, std::int64_t>(module, "SparseGram64With64");
    define_sparse_gram<float, std::int32_t>(module, "SparseGram32With32");
    define_sparse_gram<float, std::int64_t>(module, "SparseGram32With64");

    py::class_<ChebyshevMatvec, Matvec>(module, "ChebyshevMatvec")
        .def(py::init<py::object, Index, double, double>(), py::arg("matvec"), py::arg("degree"), py::arg("center"),
             py::arg("half_width"));

    py::class_<Run>(module, "Run")
        .def(py::init<Index, Index, py::object, py::array, py::array, py::array, Index, Index, const py::object&>(),
             py::arg("dim"), py::arg("max_steps"), py::arg("basis"), py::arg("candidate"), py::arg("recent"),
             py::arg("vector"), py::arg("whole_dim") = 0, py::arg("ranks") = 1, py::arg("gather") = py::none())
        .def("start", &Run::start, py::arg("v0"))
        .def("step", &Run::step, py::arg("z"))
        .def("restart", &Run::restart, py::arg("rotation"), py::arg("theta"), py::arg("coupling"), py::arg("scale"),
             py::arg("exponent"))
        .def("renew", &Run::renew, py::arg("v"))
        .def("projected", &Run::projected)
        .def("state", &Run::state)
        .def("settle", [](Run& run) { run.lanczos().settle(); })
        .def("restore", &Run::restore, py::arg("state"))
        .def_property_readonly("alpha", &Run::alpha)
        .def_property_readonly("beta", &Run::beta)
        .def_property_readonly("exponent", [](const Run& r) { return r.lanczos().exponent(); })
        .def_property_readonly("remainder", [](const Run& r) { return r.lanczos().remainder(); })
        .def_property_readonly("steps", [](const Run& r) { return r.lanczos().state().steps; })
        .def_property_readonly("sweeps", [](const Run& r) { return r.lanczos().state().sweeps; })
        .def_property_readonly("breakdown", [](const Run& r) { return r.lanczos().state().breakdown; })
        .def_property_readonly("finished", [](const Run& r) { return r.lanczos().finished(); })
        .def_property_readonly("interrupted", [](const Run& r) { return r.lanczos().interrupted(); })
        .def_property_readonly("sweep_seconds", [](const Run& r) { return r.lanczos().sweep_seconds(); })
        .def_property_readonly("residual_norm", [](const Run& r) { return r.lanczos().residual_norm(); })
        .def_property_readonly("max_projection", [](const Run& r) { return r.lanczos().max_projection(); });

    py::class_<Bidiagonal>(module, "Bidiagonal")
        .def(py::init<py::array, py::array, py::array, py::array>(), py::arg("left"), py::arg("right"),
             py::arg("left_vector"), py::arg("right_vector"))
        .def("start", &Bidiagonal::start, py::arg("v0"))
        .def("take_left", &Bidiagonal::take_left, py::arg("x"))
        .def("take_right", &Bidiagonal::take_right, py::arg("y"))
        .def_property_readonly("steps", [](const Bidiagonal& b) { return b.run().steps(); })
        .def_property_readonly("ended", [](const Bidiagonal& b) { return b.run().ended(); })
        .def_property_readonly("remainder", [](const Bidiagonal& b) { return b.run().remainder(); })
        .def_property_readonly("alpha", [](const Bidiagonal& b) { return py::array(py::cast(b.run().alpha())); })
        .def_property_readonly("beta", [](const Bidiagonal& b) { return py::array(py::cast(b.run().beta())); });

    flat_calls::define(module);
    module.def("step_together", &step_together, py::arg("runs"), py::arg("products"));
    module.def("advance", &advance, py::arg("runs"), py::arg("matvec"), py::arg("products"), py::arg("max_steps"),
               py::arg("seconds"));
    module.def("quadrature", &quadrature, py::arg("alpha"), py::arg("beta"));
    module.def("num_threads", &fastlanczos::num_threads);
    module.def("set_num_threads", [](int threads) {
        require(threads >= 1, "the number of threads must be at least 1");
        fastlanczos::thread_limit().store(threads);
    });
    module.def("build", &build);
}
