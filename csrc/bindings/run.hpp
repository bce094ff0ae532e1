// A Lanczos run in NumPy's memory, several runs step by step together, and whole runs without Python.
#pragma once

#include <pybind11/stl.h>

#include <chrono>
#include <exception>
#include <optional>
#include <vector>

#include "arguments.hpp"
#include "fastlanczos/huge_pages.hpp"
#include "fastlanczos/step.hpp"
#include "matvec.hpp"

using fastlanczos::Basis;
using fastlanczos::Outcome;

inline Basis basis_of(const py::object& rows) {
    if (rows.is_none()) return Basis::none;
    const bool narrow =
        py::isinstance<py::array_t<float>>(rows) || py::isinstance<py::array_t<std::complex<float>>>(rows);
    return narrow ? Basis::float32 : Basis::float64;
}

// A run and the NumPy arrays that are its memory: the basis (max_steps, dim) in float64 or float32 or None, the
// candidate (dim), the recent rows (flat), and the vector that is handed out (dim); see Memory in step.hpp. The run is
// complex where the candidate is: all of them then are, complex128 for float64 and complex64 for float32.
class Run {
public:
    Run(Index dim, Index max_steps, py::object basis, py::array candidate, py::array recent, py::array vector,
        Index whole_dim, Index ranks, const py::object& gather)
        : basis_(std::move(basis)),
          candidate_(std::move(candidate)),
          recent_(std::move(recent)),
          vector_(std::move(vector)),
          is_complex_(py::isinstance<ComplexVector>(candidate_)),
          lanczos_(dim, max_steps, basis_of(basis_), memory(dim, max_steps, gather.is_none() ? dim : whole_dim),
                   sharing(whole_dim, ranks, gather), is_complex_ ? Field::complex : Field::real) {}

    bool start(const py::array& v0) {
        const double* data = vector_data(v0, lanczos_.dim(), is_complex_);
        py::gil_scoped_release release;
        return lanczos_.start(data);
    }

    Outcome step(const py::array& z) {
        const double* data = vector_data(z, lanczos_.dim(), is_complex_);
        std::optional<py::gil_scoped_release> release;
        if (entries() > kWorthReleasing) release.emplace();
        return lanczos_.step(data);
    }

    // What the next step goes through.
    Index entries() const {
        return (lanczos_.basis() == Basis::none ? 5 : lanczos_.state().steps + 4) * lanczos_.columns();
    }

    // Entries of a step that takes about 100 microseconds. Letting go of the GIL for less costs more than it gives:
    // each time another Python thread wakes up, and the caches change hands.
    static constexpr Index kWorthReleasing = 131072;

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

    // Row i of `rotation` (l, k): what combination of the k rows becomes row i.
    void restart(const py::array& rotation, const std::vector<double>& theta, const std::vector<double>& coupling,
                 double scale, int exponent) {
        const Index l = static_cast<Index>(theta.size());
        require(theta.size() == coupling.size(), "expected as many values as couplings");
        const double* entries = block_data(rotation, l, lanczos_.state().steps);
        py::gil_scoped_release release;
        lanczos_.restart(l, entries, theta.data(), coupling.data(), scale, exponent);
    }

    bool renew(const py::array& v) {
        const double* data = vector_data(v, lanczos_.dim());
        py::gil_scoped_release release;
        return lanczos_.renew(data);
    }

    // T, (k, k), in units of 2^exponent.
    py::array_t<double> projected() const {
        const fastlanczos::State& s = lanczos_.state();
        const Index k = s.steps, l = s.combined;
        py::array_t<double> matrix({k, k});
        auto T = matrix.mutable_unchecked<2>();
        std::fill(matrix.mutable_data(), matrix.mutable_data() + k * k, 0.0);
        for (Index j = 0; j < k; ++j) T(j, j) = s.alpha[static_cast<std::size_t>(j)];
        for (Index j = 0; j + 1 < k; ++j) T(j, j + 1) = T(j + 1, j) = s.beta[static_cast<std::size_t>(j)];
        for (Index j = 0; j < l && l < k; ++j) T(l, j) = T(j, l) = s.coupling[static_cast<std::size_t>(j)];
        return matrix;
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
        if (is_complex_) d["h_imaginary"] = s.h_imaginary;
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
        if (is_complex_) s.h_imaginary = d["h_imaginary"].cast<std::vector<double>>();
        lanczos_.restore(std::move(s));
    }

    const fastlanczos::Lanczos& lanczos() const { return lanczos_; }
    fastlanczos::Lanczos& lanczos() { return lanczos_; }

private:
    // gather(array (count,)) -> array (ranks, count), in Python.
    static fastlanczos::Sharing sharing(Index whole_dim, Index ranks, const py::object& gather) {
        if (gather.is_none()) return {};
        const auto ask = [ranks, gather](const double* mine, Index count, double* all) {
            const py::gil_scoped_acquire gil;
            py::array_t<double> numbers(count);
            std::copy(mine, mine + count, numbers.mutable_data());
            const auto told = gather(numbers).template cast<py::array_t<double, py::array::c_style>>();
            require(told.size() == ranks * count, "expected the numbers of every rank");
            std::copy(told.data(), told.data() + told.size(), all);
        };
        return {whole_dim, ranks, ask};
    }

    fastlanczos::Memory memory(Index dim, Index max_steps, Index whole_dim) {
        require(dim >= 0 && whole_dim >= 1 && max_steps >= 1, "dim and max_steps must be at least 1");
        fastlanczos::Memory memory;
        const Basis kind = basis_of(basis_);
        if (kind != Basis::none) {
            auto rows = basis_.cast<py::array>();
            const Index size = kind == Basis::float32 ? sizeof(float) : sizeof(double);  // of a column
            const Index itemsize = is_complex_ ? 2 * size : size;
            const bool fits =
                is_complex_ ? py::isinstance<py::array_t<std::complex<double>>>(rows) ||
                                  py::isinstance<py::array_t<std::complex<float>>>(rows)
                            : py::isinstance<py::array_t<double>>(rows) || py::isinstance<py::array_t<float>>(rows);
            require(fits && rows.ndim() == 2 && rows.shape(0) >= std::min(whole_dim, max_steps) &&
                        rows.shape(1) == dim && (dim <= 1 || rows.strides(1) == itemsize) &&
                        rows.strides(0) % itemsize == 0 && rows.strides(0) >= dim * itemsize,
                    "expected a basis of max_steps rows of dim entries, in the candidate's precision or half of it");
            memory.basis = rows.mutable_data();
            memory.stride = rows.strides(0) / size;
            fastlanczos::request_huge_pages(memory.basis, static_cast<std::size_t>(rows.shape(0) * rows.strides(0)));
        }
        memory.candidate = writable_data(candidate_, dim, is_complex_);
        memory.vector = writable_data(vector_, dim, is_complex_);
        const Index kept = kind == Basis::float64 ? 0 : kind == Basis::float32 ? 2 : 1;
        memory.recent = writable_data(recent_, kept * dim, is_complex_);
        return memory;
    }

    py::object basis_;
    py::array candidate_, recent_, vector_;
    bool is_complex_;
    fastlanczos::Lanczos lanczos_;
};

// Runs of one dimension and field, each of which still takes steps and stands but once in the list.
inline const fastlanczos::Lanczos& check_runs(const std::vector<Run*>& runs) {
    require(!runs.empty(), "no run was given");
    const fastlanczos::Lanczos& first = runs[0]->lanczos();
    for (std::size_t i = 0; i < runs.size(); ++i) {
        const fastlanczos::Lanczos& lanczos = runs[i]->lanczos();
        require(lanczos.dim() == first.dim() && lanczos.is_complex() == first.is_complex() && !lanczos.finished(),
                "the runs must be unfinished, of one dimension, and all real or all complex");
        require(std::find(runs.begin(), runs.begin() + static_cast<std::ptrdiff_t>(i), runs[i]) ==
                    runs.begin() + static_cast<std::ptrdiff_t>(i),
                "a run was given twice");
    }
    return first;
}

// One step of every run with its row of `products`. Small runs go side by side, one thread each; large ones one after
// the other, each in all threads. Without the GIL.
inline void step_all(const std::vector<Run*>& runs, const double* products, fastlanczos::Interrupt* interrupt,
                     std::vector<Outcome>& outcomes, const fastlanczos::Inspection* looked = nullptr) {
    const Index count = static_cast<Index>(runs.size()), columns = runs[0]->lanczos().columns();
    Index entries = 0;
    for (const Run* run : runs) entries += run->entries();
    const bool small = fastlanczos::useful_threads(entries / count) == 1;
    const auto step = [&](Index i) {
        const auto at = static_cast<std::size_t>(i);
        outcomes[at] = runs[at]->lanczos().step(products + i * columns, small ? nullptr : interrupt,
                                                looked ? looked + i : nullptr);
    };
    // Ranks speak in the same order: of runs that are shared, one after the other.
    if (small && !runs[0]->lanczos().is_shared())
        fastlanczos::parallel_for(fastlanczos::useful_threads(entries), count, step);
    else
        for (Index i = 0; i < count; ++i) step(i);
}

inline std::vector<Outcome> step_together(const std::vector<Run*>& runs, const py::array& products) {
    const fastlanczos::Lanczos& first = check_runs(runs);
    const double* z = block_data(products, static_cast<Index>(runs.size()), first.dim(), first.is_complex());
    std::vector<Outcome> outcomes(runs.size());
    py::gil_scoped_release release;
    step_all(runs, z, nullptr, outcomes);
    return outcomes;
}

// Python's signal handlers, run from within a loop that does not hold the GIL. Only the main thread runs any.
class SignalCheck {
public:
    SignalCheck() {
        const auto threading = py::module_::import("threading");
        main_ = threading.attr("get_ident")().equal(threading.attr("main_thread")().attr("ident"));
    }

    // True when a handler has raised.
    bool operator()() {
        if (!main_) return false;
        py::gil_scoped_acquire gil;
        if (PyErr_CheckSignals() == 0) return false;
        try {
            throw py::error_already_set();
        } catch (...) {
            raised_ = std::current_exception();
        }
        return true;
    }

    void rethrow() const {
        if (raised_) std::rethrow_exception(raised_);
    }

private:
    bool main_ = false;
    std::exception_ptr raised_;
};

// While it lives the runs' vectors are read where they are computed, and nothing is handed out; but only where what
// reads them leaves them alone.
class DirectVectors {
public:
    DirectVectors(const std::vector<Run*>& runs, bool on) : runs_(runs), on_(on) {
        for (Run* run : runs_)
            if (on_) run->lanczos().hand_out(false);
    }
    ~DirectVectors() {
        for (Run* run : runs_)
            if (on_) run->lanczos().hand_out(true);
    }
    DirectVectors(const DirectVectors&) = delete;
    DirectVectors& operator=(const DirectVectors&) = delete;

    void vectors(std::vector<const double*>& x) const {
        for (std::size_t i = 0; i < runs_.size(); ++i)
            x[i] = on_ ? runs_[i]->lanczos().candidate() : runs_[i]->lanczos().vector();
    }

private:
    const std::vector<Run*>& runs_;
    bool on_;
};

// Multiplies and steps until a run ends or fails, `max_steps` are taken, or `seconds` have passed. `products` is memory
// for A times the runs' vectors. Returns the steps taken and the outcomes of the last one; raises what a signal handler
// raised.
inline py::tuple advance(const std::vector<Run*>& runs, const Matvec& A, py::array& products, Index max_steps,
                         double seconds) {
    const fastlanczos::Lanczos& first = check_runs(runs);
    require(A.dim() == first.dim() && A.is_complex() == first.is_complex(),
            "the operator and the runs differ in their dimension, or in whether they are complex");
    const Index count = static_cast<Index>(runs.size());
    double* z = writable_block_data(products, count, first.dim(), first.is_complex());
    std::vector<const double*> x(runs.size());
    std::vector<double*> y;
    for (Index i = 0; i < count; ++i) y.push_back(z + i * first.columns());
    std::vector<double> factors(runs.size());
    std::vector<fastlanczos::Inspection> looked(runs.size());
    std::vector<Outcome> outcomes(runs.size(), Outcome::running);
    SignalCheck signals;
    fastlanczos::Interrupt interrupt([&signals] { return signals(); });
    Index steps = 0;
    {
        py::gil_scoped_release release;
        const DirectVectors direct(runs, A.only_reads());
        const auto began = std::chrono::steady_clock::now();
        const auto unfinished = [](Outcome outcome) { return outcome == Outcome::running; };
        while (steps < max_steps && std::all_of(outcomes.begin(), outcomes.end(), unfinished) &&
               (steps == 0 || std::chrono::steady_clock::now() - began < std::chrono::duration<double>(seconds))) {
            direct.vectors(x);
            for (std::size_t i = 0; i < runs.size(); ++i) factors[i] = runs[i]->lanczos().factor();
            const bool seen = A.multiply_and_look(count, x.data(), y.data(), factors.data(), looked.data(), &interrupt);
            if (!interrupt.requested()) step_all(runs, z, &interrupt, outcomes, seen ? looked.data() : nullptr);
            if (interrupt.requested()) break;
            ++steps;
            interrupt.check();
        }
    }
    signals.rethrow();
    return py::make_tuple(steps, outcomes);
}
