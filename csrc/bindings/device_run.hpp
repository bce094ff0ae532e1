// A Lanczos run in arrays of the caller's on a CUDA device.
//
// In an unnamed namespace, since the emulation's module of the same name may be loaded beside the real one.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "fastlanczos/cuda/restart.cuh"
#include "fastlanczos/cuda/sharing.cuh"
#include "launch.hpp"

using HostVector = py::array_t<double, py::array::c_style>;

namespace {

// How far a run is, which the device writes and the host sees without asking: status and finished steps.
class Told {
public:
    Told() {
        void *host = nullptr, *device = nullptr;
        checked(cudaHostAlloc(&host, 2 * sizeof(int), cudaHostAllocMapped),
                "allocating a word for the device to write");
        host_ = static_cast<volatile int*>(host);
        set(0, 0);
        checked(cudaHostGetDevicePointer(&device, host, 0), "mapping a word for the device to write");
        device_ = static_cast<volatile int*>(device);
    }
    ~Told() { (void)cudaFreeHost(const_cast<int*>(host_)); }
    Told(const Told&) = delete;
    Told& operator=(const Told&) = delete;

    int status() const { return host_[0]; }
    int steps() const { return host_[1]; }
    void set(int status, int steps) {
        host_[1] = steps;
        host_[0] = status;
    }
    volatile int* device() const { return device_; }

private:
    volatile int *host_ = nullptr, *device_ = nullptr;
};

// A run in arrays of the caller's on one device: basis (max_steps, dim) with rows that begin at 16 bytes, or None;
// candidate and vector (dim); recent (2 or 1 rows of dim, made even, for float32 or none); workspace
// (workspace_entries()). Nothing here waits for the device but start(), restore() and what reads numbers back.
class Run {
public:
    Run(Index dim, Index max_steps, const std::string& storage, py::object basis, py::object candidate,
        py::object recent, py::object vector, py::object workspace, std::uintptr_t stream, Index whole_dim)
        : basis_(basis_of(storage)), arrays_{basis, candidate, recent, vector, workspace}, stream_(stream) {
        require(dim >= 1 && max_steps >= 1, "dim and max_steps must be at least 1");
        run_.dim = dim;
        run_.whole_dim = std::max(dim, whole_dim);
        run_.max_steps = std::min(run_.whole_dim, max_steps);
        run_.candidate = vector_of(candidate, dim);
        device_ = device_array(candidate, stream).device;
        run_.vector = vector_ = vector_of(vector, dim);
        const Index kept = basis_ == gpu::Basis::float64 ? 0 : basis_ == gpu::Basis::float32 ? 2 : 1;
        if (kept > 0) run_.recent = vector_of(recent, kept * run_.recent_stride());
        require(reinterpret_cast<std::uintptr_t>(run_.recent) % 16 == 0, "memory must begin at 16 bytes");
        launch_ = plan_launch(basis_, device_);
        const Index entries = gpu::workspace_entries(run_.max_steps, launch_.blocks, basis_);
        double* memory = vector_of(workspace, entries);
        require(reinterpret_cast<std::uintptr_t>(memory) % 16 == 0, "memory must begin at 16 bytes");
        gpu::cut_workspace(memory, run_.max_steps, launch_.blocks, basis_, run_);
        if (basis_ != gpu::Basis::none) {
            const DeviceArray rows = device_array(basis, stream);
            require(rows.entry == (basis_ == gpu::Basis::float32 ? Entry::float32 : Entry::float64) &&
                        rows.shape.size() == 2 && rows.shape[0] >= run_.max_steps && rows.shape[1] >= dim &&
                        rows.strides[1] == 1 && rows.strides[0] * rows.itemsize() % 16 == 0 &&
                        reinterpret_cast<std::uintptr_t>(rows.data) % 16 == 0,
                    "expected a basis of max_steps rows that begin at 16 bytes");
            run_.basis = rows.data;
            run_.stride = rows.strides[0];
        }
        run_.told = told_.device();
        put_scalars();
    }

    // Begins with a unit vector.
    void start(const HostVector& unit) {
        require(unit.ndim() == 1 && unit.shape(0) == run_.dim, "expected a vector of the run's dimension");
        settle();
        upload(unit.data(), run_.candidate, run_.dim);
        if (run_.vector) upload(unit.data(), run_.vector, run_.dim);
        scalars_ = gpu::Scalars();
        put_scalars();
        launched_ = 0;
    }

    // Whether a copy of the candidate is kept, which an operator may write into.
    void hand_out(bool on) {
        if (on && !run_.vector) {
            const OnDevice here(device_);
            checked(cudaMemcpyAsync(vector_, run_.candidate, static_cast<std::size_t>(run_.dim) * sizeof(double),
                                    cudaMemcpyDeviceToDevice, stream_of(stream_)),
                    "copying the candidate");
        }
        run_.vector = on ? vector_ : nullptr;
    }

    // Begins with no candidate: renew() finds one.
    void clear() {
        settle();
        scalars_ = gpu::Scalars();
        scalars_.status = gpu::Status::breakdown;
        put_scalars();
        launched_ = 0;
    }

    // One step with z = A times the vector, for every run in `runs`; the products are rows of `products`.
    static void step(const std::vector<Run*>& runs, const py::object& products, std::uintptr_t stream) {
        require(!runs.empty(), "no run was given");
        Run& first = *runs[0];
        const DeviceArray z = device_array(products, stream);
        const auto count = static_cast<long long>(runs.size());
        const bool block = z.shape.size() == 2;
        require(z.entry == Entry::float64 && (block ? z.shape[0] == count : count == 1) &&
                    z.shape.back() == first.run_.dim && (first.run_.dim == 1 || z.strides.back() == 1),
                "expected products in contiguous rows of float64");
        require(z.device == first.device_, "the product is on another device than the run");
        const OnDevice on(first.device_);
        for (std::size_t begin = 0; begin < runs.size(); begin += gpu::kMaxRuns) {
            gpu::Batch batch;
            batch.blocks = first.launch_.blocks;
            batch.stages = first.launch_.stages;
            batch.shared_bytes = first.launch_.shared_bytes;
            for (std::size_t r = begin; r < std::min(runs.size(), begin + gpu::kMaxRuns); ++r) {
                Run& run = *runs[r];
                require(run.run_.dim == first.run_.dim && run.basis_ == first.basis_ && run.device_ == first.device_,
                        "the runs must be of one dimension, storage and device");
                require(std::find(runs.begin(), runs.begin() + static_cast<std::ptrdiff_t>(r), runs[r]) ==
                            runs.begin() + static_cast<std::ptrdiff_t>(r),
                        "a run was given twice");
                run.run_.z =
                    static_cast<const double*>(z.data) + (block ? static_cast<long long>(r) * z.strides[0] : 0);
                run.stream_ = stream;
                ++run.launched_;
                batch.runs[batch.count++] = run.run_;
            }
            checked(gpu::launch_step(batch, first.basis_, first.launch_.threads, first.launch_.cooperative,
                                     stream_of(stream)),
                    "launching the step");
        }
        for (Run* run : runs) run->keep_pace();
    }

    // A step of a run over ranks, phase by phase: begin(), a collective, sweep(0), a collective, judge(0), ..., end().
    // `message` gets what this rank says, and all() takes what all have said; see sharing.cuh. They return how many
    // numbers the message has.
    Index begin(const py::object& product, const py::object& message, bool failed, std::uintptr_t stream) {
        stream_ = stream;
        const OnDevice on(device_);
        if (!failed) {
            run_.z = vector_of(product, run_.dim);
            phase(0);
        }
        return pack(gpu::Message::inspection, 0, message, failed);
    }

    Index sweep(int round, const py::object& all, Index ranks, const py::object& message) {
        const OnDevice on(device_);
        if (round == 0) take(gpu::Message::inspection, 0, all, ranks);
        phase(1 + 3 * round);
        phase(2 + 3 * round);
        return pack(gpu::Message::dots, round, message, false);
    }

    void judge(int round, const py::object& all, Index ranks) {
        const OnDevice on(device_);
        take(gpu::Message::dots, round, all, ranks);
        phase(3 + 3 * round);
    }

    void end() {
        const OnDevice on(device_);
        phase(gpu::kPhases - 1);
        ++launched_;
    }

    // Waits until no more than so many steps are under way, or the run has ended.
    void wait(Index ahead) const {
        wait_until([&] { return told_.status() != 0 || launched_ - static_cast<Index>(told_.steps()) <= ahead; });
    }

    // Further rounds that the step may need.
    int corrections() const { return basis_ == gpu::Basis::none ? 0 : gpu::kMaxCorrections; }

    // What the device has said so far: the run's status, possibly that of some steps ago.
    int told() const { return told_.status(); }
    int steps_told() const { return told_.steps(); }
    Index launched() const { return launched_; }
    int blocks() const { return launch_.blocks; }
    int stages() const { return launch_.stages; }

    // Waits for the device; the status is then that of the last step. Never from memory: a captured step may have been
    // replayed meanwhile.
    int settle() {
        download(run_.scalars, &scalars_, 1);
        return static_cast<int>(scalars_.status);
    }

    // Lets a run that has met entries that are not finite take another product for the same step.
    void resume() {
        settle();
        scalars_.status = gpu::Status::running;
        put_scalars();
        launched_ = scalars_.steps;
    }

    const gpu::Scalars& scalars() {
        settle();
        return scalars_;
    }

    py::array_t<double> alpha() { return scaled(run_.alpha, scalars().steps, scalars().exponent); }
    py::array_t<double> beta() {
        return scaled(run_.beta, std::max<Index>(scalars().steps - 1, 0), scalars().exponent);
    }

    double residual_norm() {
        const Index k = scalars().steps;
        if (k == 0) return 0.0;
        const double last = scaled(run_.beta + k - 1, 1, scalars_.exponent).at(0);
        return last * std::sqrt(scalars_.status == gpu::Status::breakdown ? 1.0 : scalars_.nu2);
    }

    // Norm of what A leaves outside the space, in units of 2^exponent.
    double remainder() {
        const Index k = scalars().steps;
        if (k == 0) return 0.0;
        return scaled(run_.beta + k - 1, 1, 0).at(0) *
               std::sqrt(scalars_.status == gpu::Status::breakdown ? 1.0 : scalars_.nu2);
    }

    // T, (k, k), in units of 2^exponent.
    py::array_t<double> projected() {
        const Index k = scalars().steps, l = scalars_.combined;
        py::array_t<double> matrix({k, k});
        std::fill(matrix.mutable_data(), matrix.mutable_data() + k * k, 0.0);
        auto T = matrix.mutable_unchecked<2>();
        const auto alpha = scaled(run_.alpha, k, 0), beta = scaled(run_.beta, k, 0), s = scaled(run_.coupling, l, 0);
        for (Index j = 0; j < k; ++j) T(j, j) = alpha.at(j);
        for (Index j = 0; j + 1 < k; ++j) T(j, j + 1) = T(j + 1, j) = beta.at(j);
        for (Index j = 0; j < l && l < k; ++j) T(l, j) = T(j, l) = s.at(j);
        return matrix;
    }

    // As that of _core.Run: row i of `rotation` (l, k) is what combination of the k rows becomes row i. `memory` is on
    // the device, k (l + 8) + 2 l numbers.
    void restart(const HostVector& rotation, const HostVector& theta, const HostVector& coupling, double scale,
                 int exponent, const py::object& memory) {
        require(basis_ != gpu::Basis::none, "only a basis can be restarted");
        settle();
        const Index k = scalars_.steps, l = theta.size();
        require(rotation.ndim() == 2 && rotation.shape(0) == l && rotation.shape(1) == k && coupling.size() == l,
                "expected a combination of the rows for each value and coupling");
        require(l <= k && l < run_.max_steps, "a restart keeps fewer rows than there are");
        if (gpu::rotation_width(k, launch_.threads, launch_.shared_bytes) == 0)
            throw py::value_error("a restart of " + std::to_string(k) +
                                  " rows needs more shared memory than the GPU has: pass a smaller ncv");
        const Index padded = (l + gpu::kOutputs - 1) / gpu::kOutputs * gpu::kOutputs;
        std::vector<double> entries(static_cast<std::size_t>(k * padded + 2 * l), 0.0);
        for (Index i = 0; i < l; ++i) {
            for (Index j = 0; j < k; ++j) entries[static_cast<std::size_t>(j * padded + i)] = rotation.at(i, j);
            entries[static_cast<std::size_t>(k * padded + i)] = theta.at(i);
            entries[static_cast<std::size_t>(k * padded + l + i)] = coupling.at(i);
        }
        double* there = vector_of(memory, static_cast<Index>(entries.size()));
        upload(entries.data(), there, static_cast<Index>(entries.size()));
        const bool goes_on = scalars_.status != gpu::Status::breakdown;
        const gpu::Restarted to{l, there + k * padded, there + k * padded + l, scale, exponent, goes_on ? 1 : 0};
        const OnDevice on(device_);
        checked(gpu::launch_restart(alone(), basis_, k, there, to, launch_.threads, stream_of(stream_)),
                "launching the restart");
        memory_ = memory;
        begin_again(goes_on ? gpu::Status::running : gpu::Status::breakdown, l);
    }

    // As that of _core.Run, for a vector on the device.
    bool renew(const py::object& v) {
        require(basis_ != gpu::Basis::none, "only a run with a basis can be renewed");
        settle();
        const Index k = scalars_.steps;
        require(k < run_.max_steps, "there is no room for another row");
        const double* x = vector_of(v, run_.dim);
        const cudaStream_t stream = stream_of(stream_);
        const OnDevice on(device_);
        checked(gpu::launch_write(run_, gpu::Entry::uncoupled, {}, launch_.threads, stream), "renewing the candidate");
        const double largest = gpu_largest(x, run_.dim, run_.partial, launch_.blocks, stream);
        double norm = 0.0;
        if (largest > 0.0 && std::isfinite(largest)) {
            gpu::Terms terms;
            terms.count = 1;
            terms.x[0] = x;
            terms.factors[0] = std::ldexp(1.0, -std::max(-1000, std::min(1000, std::ilogb(largest))));
            checked(launch_vectors(&gpu::terms_kernel, launch_.blocks, stream, terms, run_.dim, run_.candidate),
                    "renewing the candidate");
            double before = 0.0;
            for (int pass = 0; pass < 2 + gpu::kMaxCorrections; ++pass, before = norm) {
                if (pass > 0)
                    checked(gpu::launch_write(run_, gpu::Entry::correction, {}, launch_.threads, stream),
                            "renewing the candidate");
                checked(gpu::launch_projection(alone(), basis_, launch_.threads, stream), "renewing the candidate");
                double square = 0.0;
                download(run_.dots + k + 1, &square, 1);
                norm = std::sqrt(square);
                if (pass > 0 && norm > 0.5 * before) break;
            }
        }
        const bool found = norm > 64.0 * DBL_EPSILON * std::sqrt(static_cast<double>(run_.dim));
        if (found) {
            checked(gpu::launch_next(alone(), basis_, launch_.threads, stream), "renewing the candidate");
        } else {
            settle();
            scalars_.status = gpu::Status::breakdown;
            upload(&scalars_, run_.scalars, 1);
        }
        begin_again(found ? gpu::Status::running : gpu::Status::breakdown, k);
        return found;
    }

    double max_projection() { return std::ldexp(scalars().max_projection, scalars_.exponent); }

    // As that of _core.Run, and what the next step needs besides.
    py::dict state() {
        const gpu::Scalars s = scalars();
        const Index rows = basis_ == gpu::Basis::none ? std::min<Index>(s.steps, 1) : s.steps;
        const bool broken = s.status == gpu::Status::breakdown;
        py::dict d;
        d["steps"] = s.steps;
        d["sweeps"] = s.sweeps;
        d["exponent"] = s.exponent;
        d["breakdown"] = broken;
        d["scale"] = s.scale;
        d["max_projection"] = s.max_projection;
        d["alpha"] = scaled(run_.alpha, s.steps, 0);
        d["beta"] = scaled(run_.beta, s.steps, 0);
        d["h"] = scaled(run_.h, broken ? 0 : basis_ == gpu::Basis::none ? std::min<Index>(s.steps, 2) : s.steps, 0);
        d["ahead"] = std::vector<double>{s.nu2, s.b, s.b_h, s.h_c};
        d["coefficients"] = scaled(reinterpret_cast<double*>(run_.coefficients), 2 * rows, 0);
        return d;
    }

    void restore(const py::dict& d) {
        const auto alpha = d["alpha"].cast<HostVector>(), beta = d["beta"].cast<HostVector>();
        const auto h = d["h"].cast<HostVector>(), coefficients = d["coefficients"].cast<HostVector>();
        const auto next = d["ahead"].cast<std::vector<double>>();
        gpu::Scalars s;
        s.steps = d["steps"].cast<Index>();
        const Index rows = basis_ == gpu::Basis::none ? std::min<Index>(s.steps, 1) : s.steps;
        require(s.steps >= 0 && s.steps <= run_.max_steps && alpha.size() == s.steps && beta.size() == s.steps &&
                    h.size() <= s.steps && coefficients.size() == 2 * rows && next.size() == 4,
                "the state does not belong to a run of this size");
        s.sweeps = d["sweeps"].cast<Index>();
        s.exponent = d["exponent"].cast<int>();
        s.scale = d["scale"].cast<double>();
        s.max_projection = d["max_projection"].cast<double>();
        s.nu2 = next[0];
        s.b = next[1];
        s.b_h = next[2];
        s.h_c = next[3];
        s.status = d["breakdown"].cast<bool>() ? gpu::Status::breakdown
                   : s.steps == run_.max_steps ? gpu::Status::complete
                                               : gpu::Status::running;
        settle();
        upload(alpha.data(), run_.alpha, alpha.size());
        upload(beta.data(), run_.beta, beta.size());
        upload(h.data(), run_.h, h.size());
        upload(coefficients.data(), reinterpret_cast<double*>(run_.coefficients), coefficients.size());
        scalars_ = s;
        put_scalars();
        launched_ = s.steps;
    }

private:
    // This run as a batch of its own.
    gpu::Batch alone() const {
        gpu::Batch batch;
        batch.count = 1;
        batch.blocks = launch_.blocks;
        batch.stages = launch_.stages;
        batch.shared_bytes = launch_.shared_bytes;
        batch.runs[0] = run_;
        return batch;
    }

    void phase(int which) const {
        checked(gpu::launch_phase(alone(), basis_, launch_.threads, which, stream_of(stream_)), "launching a phase");
    }

    Index pack(gpu::Message what, int round, const py::object& message, bool failed) const {
        const Index count = gpu::numbers_of(what, basis_, launched_, round);
        checked(gpu::launch_pack(run_, what, count, launch_.blocks, failed, vector_of(message, count + 1),
                                 launch_.threads, stream_of(stream_)),
                "packing a message");
        return count + 1;
    }

    void take(gpu::Message what, int round, const py::object& all, Index ranks) const {
        const Index count = gpu::numbers_of(what, basis_, launched_, round);
        checked(gpu::launch_take(run_, what, count, launch_.blocks, ranks, vector_of(all, ranks * (count + 1)),
                                 launch_.threads, stream_of(stream_)),
                "taking messages");
    }

    // Nothing that was told before counts any more, and nothing is in flight that could tell.
    void begin_again(gpu::Status status, Index steps) {
        told_.set(static_cast<int>(status), static_cast<int>(steps));
        launched_ = steps;
    }

    double* vector_of(const py::object& x, Index entries) const {
        const DeviceArray array = device_array(x, stream_);
        require(
            array.entry == Entry::float64 && array.shape.size() == 1 && array.size() >= entries && array.contiguous(),
            "expected a contiguous float64 vector on a device, long enough");
        require(device_ < 0 || array.device == device_, "the arrays are on different devices");
        return static_cast<double*>(array.data);
    }

    // Between ordinary host memory and the device. CUDA does such a copy when all before it is done and does not
    // return until then, so that is waited for first: signals are answered, and nothing is in flight when one raises.
    template <class T>
    void copy(const T* from, T* to, Index count, cudaMemcpyKind direction) const {
        wait_until([] { return false; });
        const OnDevice on(device_);
        checked(cudaMemcpyAsync(to, from, static_cast<std::size_t>(count) * sizeof(T), direction, stream_of(stream_)),
                "copying to or from the device");
        checked(cudaStreamSynchronize(stream_of(stream_)), "waiting for the device");
    }

    template <class T>
    void upload(const T* from, T* to, Index count) const {
        copy(from, to, count, cudaMemcpyHostToDevice);
    }

    template <class T>
    void download(const T* from, T* to, Index count) const {
        copy(from, to, count, cudaMemcpyDeviceToHost);
    }

    // Waits until the device is done, or `enough` says so, and answers signals meanwhile.
    template <class Enough>
    void wait_until(const Enough& enough) const {
        const OnDevice on(device_);
        const auto began = std::chrono::steady_clock::now();
        while (!enough()) {
            const cudaError_t status = cudaStreamQuery(stream_of(stream_));
            if (status != cudaErrorNotReady) {
                checked(status, "waiting for the device");
                return;
            }
            if (PyErr_CheckSignals() != 0) throw py::error_already_set();
            const py::gil_scoped_release release;
            if (std::chrono::steady_clock::now() - began < std::chrono::microseconds(200))
                std::this_thread::yield();
            else
                std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
    }

    // Lets the host be some steps ahead, so that the device never runs dry, but not so many that Ctrl-C comes too late.
    void keep_pace() const {
        constexpr Index kAhead = 32;
        const auto near = [this](Index ahead) {
            return told_.status() != 0 || launched_ - static_cast<Index>(told_.steps()) <= ahead;
        };
        if (near(kAhead)) return;
        const OnDevice on(device_);
        cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
        checked(cudaStreamIsCapturing(stream_of(stream_), &capture), "asking whether the stream is being captured");
        if (capture == cudaStreamCaptureStatusNone) wait_until([&] { return near(kAhead / 2); });
    }

    void put_scalars() {
        upload(&scalars_, run_.scalars, 1);
        told_.set(static_cast<int>(scalars_.status), static_cast<int>(scalars_.steps));
    }

    py::array_t<double> scaled(const double* from, Index count, int exponent) {
        py::array_t<double> values(count);
        if (count > 0) download(from, values.mutable_data(), count);
        for (Index k = 0; k < count; ++k) values.mutable_at(k) = std::ldexp(values.at(k), exponent);
        return values;
    }

    gpu::Run run_{};
    double* vector_ = nullptr;
    gpu::Basis basis_;
    Launch launch_;
    int device_ = -1;
    Told told_;
    std::vector<py::object> arrays_;
    py::object memory_;  // of the latest restart
    std::uintptr_t stream_;
    gpu::Scalars scalars_;
    Index launched_ = 0;
};

Index workspace_entries(Index dim, Index max_steps, const std::string& storage, int device) {
    const gpu::Basis basis = basis_of(storage);
    return gpu::workspace_entries(std::min(dim, max_steps), plan_launch(basis, device).blocks, basis);
}

}  // namespace
