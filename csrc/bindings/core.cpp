// fastlanczos._core: the C++ headers as a Python module. Arguments are checked here for what would crash; what they
// mean is checked, and told to the user, in Python.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

#include "fastlanczos/step.hpp"
#include "fastlanczos/tridiagonal.hpp"

namespace py = pybind11;
using fastlanczos::Basis;
using fastlanczos::Index;
using Vector = py::array_t<double, py::array::c_style>;

namespace {

void require(bool condition, const char* message) {
    if (!condition) throw py::value_error(message);
}

// The data of a float64 vector that is contiguous and of the given length; never a copy.
const double* vector_data(const py::array& x, Index length) {
    require(py::isinstance<Vector>(x) && x.ndim() == 1 && x.shape(0) == length,
            "expected a contiguous float64 vector of the operator's dimension");
    return static_cast<const double*>(x.data());
}

double* writable_data(py::array& x, Index length) {
    vector_data(x, length);
    return static_cast<double*>(x.mutable_data());
}

Basis basis_of(const py::object& rows) {
    if (rows.is_none()) return Basis::none;
    return py::isinstance<py::array_t<float>>(rows) ? Basis::float32 : Basis::float64;
}

// A run and the NumPy arrays that are its memory: the basis (max_steps, dim) in float64 or float32 or None, the
// candidate (dim), the recent rows (flat), and the vector that is handed out (dim); see Memory in step.hpp.
class Run {
public:
    Run(Index dim, Index max_steps, py::object basis, py::array candidate, py::array recent, py::array vector)
        : basis_(std::move(basis)),
          candidate_(std::move(candidate)),
          recent_(std::move(recent)),
          vector_(std::move(vector)),
          lanczos_(dim, max_steps, basis_of(basis_), memory(dim, max_steps)) {}

    bool start(const py::array& v0) {
        const double* data = vector_data(v0, lanczos_.dim());
        py::gil_scoped_release release;
        return lanczos_.start(data);
    }

    fastlanczos::Outcome step(const py::array& z) {
        const double* data = vector_data(z, lanczos_.dim());
        py::gil_scoped_release release;
        return lanczos_.step(data);
    }

    py::array_t<double> alpha() const {
        py::array_t<double> values(lanczos_.state().steps);
        for (Index k = 0; k < values.size(); ++k) values.mutable_at(k) = lanczos_.alpha(k);
        return values;
    }

    py::array_t<double> beta() const {
        py::array_t<double> values(std::max<Index>(lanczos_.state().steps - 1, 0));
        for (Index k = 0; k < values.size(); ++k) values.mutable_at(k) = lanczos_.beta(k);
        return values;
    }

    py::dict state() const {
        const fastlanczos::State& s = lanczos_.state();
        py::dict d;
        d["steps"] = s.steps;
        d["sweeps"] = s.sweeps;
        d["exponent"] = s.exponent;
        d["breakdown"] = s.breakdown;
        d["scale"] = s.scale;
        d["max_projection"] = s.max_projection;
        d["alpha"] = s.alpha;
        d["beta"] = s.beta;
        d["h"] = s.h;
        return d;
    }

    void restore(const py::dict& d) {
        fastlanczos::State s;
        s.steps = d["steps"].cast<Index>();
        s.sweeps = d["sweeps"].cast<Index>();
        s.exponent = d["exponent"].cast<int>();
        s.breakdown = d["breakdown"].cast<bool>();
        s.scale = d["scale"].cast<double>();
        s.max_projection = d["max_projection"].cast<double>();
        s.alpha = d["alpha"].cast<std::vector<double>>();
        s.beta = d["beta"].cast<std::vector<double>>();
        s.h = d["h"].cast<std::vector<double>>();
        lanczos_.restore(std::move(s));
    }

    const fastlanczos::Lanczos& lanczos() const { return lanczos_; }

private:
    fastlanczos::Memory memory(Index dim, Index max_steps) {
        require(dim >= 1 && max_steps >= 1, "dim and max_steps must be at least 1");
        fastlanczos::Memory memory;
        const Basis kind = basis_of(basis_);
        if (kind != Basis::none) {
            auto rows = basis_.cast<py::array>();
            const Index itemsize = kind == Basis::float32 ? sizeof(float) : sizeof(double);
            require((kind == Basis::float32 || py::isinstance<py::array_t<double>>(rows)) && rows.ndim() == 2 &&
                        rows.shape(0) >= std::min(dim, max_steps) && rows.shape(1) == dim &&
                        (dim == 1 || rows.strides(1) == itemsize) && rows.strides(0) % itemsize == 0 &&
                        rows.strides(0) >= dim * itemsize,
                    "expected a basis of max_steps rows of dim float64 or float32 entries");
            memory.basis = rows.mutable_data();
            memory.stride = rows.strides(0) / itemsize;
        }
        memory.candidate = writable_data(candidate_, dim);
        memory.vector = writable_data(vector_, dim);
        const Index kept = kind == Basis::float64 ? 0 : kind == Basis::float32 ? 2 : 1;
        memory.recent = writable_data(recent_, kept * dim);
        return memory;
    }

    py::object basis_;
    py::array candidate_, recent_, vector_;
    fastlanczos::Lanczos lanczos_;
};

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
#if defined(_OPENMP)
    d["openmp"] = _OPENMP;
#else
    d["openmp"] = py::none();
#endif
    d["instruction_set"] = fastlanczos::kernels().instruction_set;
    return d;
}

}  // namespace

PYBIND11_MODULE(_core, module) {
    module.doc() =
        "Compiled core of fastlanczos: the reorthogonalized Lanczos step and the quadrature of tridiagonals.";

    py::enum_<fastlanczos::Outcome>(module, "Outcome")
        .value("running", fastlanczos::Outcome::running)
        .value("complete", fastlanczos::Outcome::complete)
        .value("breakdown", fastlanczos::Outcome::breakdown)
        .value("not_finite", fastlanczos::Outcome::not_finite);

    py::class_<Run>(module, "Run")
        .def(py::init<Index, Index, py::object, py::array, py::array, py::array>(), py::arg("dim"),
             py::arg("max_steps"), py::arg("basis"), py::arg("candidate"), py::arg("recent"), py::arg("vector"))
        .def("start", &Run::start, py::arg("v0"))
        .def("step", &Run::step, py::arg("z"))
        .def("state", &Run::state)
        .def("restore", &Run::restore, py::arg("state"))
        .def_property_readonly("alpha", &Run::alpha)
        .def_property_readonly("beta", &Run::beta)
        .def_property_readonly("steps", [](const Run& r) { return r.lanczos().state().steps; })
        .def_property_readonly("sweeps", [](const Run& r) { return r.lanczos().state().sweeps; })
        .def_property_readonly("breakdown", [](const Run& r) { return r.lanczos().state().breakdown; })
        .def_property_readonly("finished", [](const Run& r) { return r.lanczos().finished(); })
        .def_property_readonly("residual_norm", [](const Run& r) { return r.lanczos().residual_norm(); })
        .def_property_readonly("max_projection", [](const Run& r) { return r.lanczos().max_projection(); });

    module.def("quadrature", &quadrature, py::arg("alpha"), py::arg("beta"));
    module.def("num_threads", &fastlanczos::num_threads);
    module.def("set_num_threads", [](int threads) {
        require(threads >= 1, "the number of threads must be at least 1");
        fastlanczos::thread_limit().store(threads);
    });
    module.def("build", &build);
}
