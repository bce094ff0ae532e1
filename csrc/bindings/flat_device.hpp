// Runs in a compiler's memory on a GPU, nothing of which is kept here: calls for PyTorch's operators, and handlers that
// XLA calls on its own stream (JAX). None waits for the device.
#pragma once

#include "fastlanczos/cuda/flat_run.cuh"
#include "fastlanczos/cuda/tridiagonal.cuh"
#include "launch.hpp"
#include "xla_frame.hpp"

namespace {

// Where a run's arrays are: see xla_frame.hpp. Rows begin at 16 bytes, and so do recent rows and state.
struct FlatArrays {
    void* basis;
    double *candidate, *recent, *state;
    Index n, m, rows, stride, recent_entries, state_entries;
    bool float32;
};

int device_of_pointer(const void* pointer) {
    cudaPointerAttributes attributes{};
    checked(cudaPointerGetAttributes(&attributes, pointer), "asking where an array lies");
    return attributes.device;
}

// How runs of one kind are launched on one device.
class FlatRuns {
public:
    explicit FlatRuns(const FlatArrays& first)
        : basis_(first.rows == 0 ? gpu::Basis::none
                 : first.float32 ? gpu::Basis::float32
                                 : gpu::Basis::float64),
          device_(device_of_pointer(first.state)),
          launch_(plan_launch(basis_, device_)) {}

    gpu::Run run(const FlatArrays& arrays) const {
        const auto aligned = [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; };
        gpu::Run run{};
        run.dim = run.whole_dim = arrays.n;
        run.max_steps = arrays.m;
        run.basis = arrays.basis;
        run.stride = arrays.stride;
        run.candidate = arrays.candidate;
        run.recent = arrays.recent;
        const Index kept = basis_ == gpu::Basis::float64 ? 0 : basis_ == gpu::Basis::float32 ? 2 : 1;
        require(arrays.state_entries >= gpu::workspace_entries(arrays.m, launch_.blocks, basis_) &&
                    arrays.recent_entries >= kept * run.recent_stride() && arrays.m <= arrays.n &&
                    (arrays.rows == 0 || (arrays.rows >= arrays.m && arrays.stride >= arrays.n &&
                                          arrays.stride * (arrays.float32 ? 4 : 8) % 16 == 0)) &&
                    aligned(arrays.basis) && aligned(arrays.recent) && aligned(arrays.state),
                "a run on a GPU needs rows that begin at 16 bytes and as much memory as its engine asks for");
        gpu::cut_workspace(arrays.state, arrays.m, launch_.blocks, basis_, run);
        run.told = gpu::told_to_nobody(run);
        return run;
    }

    void begin(const FlatArrays& arrays, const double* v0, cudaStream_t stream) const {
        const OnDevice on(device_);
        checked(gpu::launch_begin(run(arrays), v0, launch_.blocks, launch_.threads, stream), "beginning a run");
    }

    // Up to kMaxRuns of them with their products.
    void step(const std::vector<std::pair<FlatArrays, const double*>>& runs, cudaStream_t stream) const {
        const OnDevice on(device_);
        gpu::Batch batch;
        batch.blocks = launch_.blocks;
        batch.stages = launch_.stages;
        batch.shared_bytes = launch_.shared_bytes;
        for (const auto& [arrays, product] : runs) {
            gpu::Run& each = batch.runs[batch.count++] = run(arrays);
            each.z = product;
        }
        checked(gpu::launch_step(batch, basis_, launch_.threads, launch_.cooperative, stream), "launching the step");
    }

    void read(const FlatArrays& arrays, double* numbers, cudaStream_t stream) const {
        const OnDevice on(device_);
        checked(gpu::launch_read(run(arrays), basis_, numbers, launch_.threads, stream), "reading a run");
    }

private:
    gpu::Basis basis_;
    int device_;
    Launch launch_;
};

// A run's arrays as PyTorch has them: basis (m, stride) or of no rows, candidate (n), recent, state (m, w).
FlatArrays flat_arrays(const py::object& basis, const py::object& candidate, const py::object& recent,
                       const py::object& state, std::uintptr_t stream) {
    const DeviceArray b = device_array(basis, stream), c = device_array(candidate, stream),
                      r = device_array(recent, stream), s = device_array(state, stream);
    require(b.shape.size() == 2 && s.shape.size() == 2 && c.contiguous() && r.contiguous() && s.contiguous() &&
                b.contiguous() && c.entry == Entry::float64 && r.entry == Entry::float64 && s.entry == Entry::float64 &&
                (b.entry == Entry::float64 || b.entry == Entry::float32),
            "expected contiguous arrays of a run");
    FlatArrays arrays;
    arrays.basis = b.shape[0] == 0 ? nullptr : b.data;
    arrays.candidate = static_cast<double*>(c.data), arrays.recent = static_cast<double*>(r.data);
    arrays.state = static_cast<double*>(s.data);
    arrays.n = c.size(), arrays.m = s.shape[0], arrays.rows = b.shape[0], arrays.stride = b.shape[1];
    arrays.recent_entries = r.size(), arrays.state_entries = s.size();
    arrays.float32 = b.entry == Entry::float32;
    return arrays;
}

double* flat_vector(const py::object& x, Index entries, std::uintptr_t stream) {
    const DeviceArray array = device_array(x, stream);
    require(array.entry == Entry::float64 && array.contiguous() && array.size() == entries,
            "expected a contiguous float64 vector of the run's dimension");
    return static_cast<double*>(array.data);
}

void begin_flat(const py::object& basis, const py::object& candidate, const py::object& recent, const py::object& state,
                const py::object& v0, std::uintptr_t stream) {
    const FlatArrays arrays = flat_arrays(basis, candidate, recent, state, stream);
    FlatRuns(arrays).begin(arrays, flat_vector(v0, arrays.n, stream), stream_of(stream));
}

void step_flat(const py::object& basis, const py::object& candidate, const py::object& recent, const py::object& state,
               const py::object& product, std::uintptr_t stream) {
    const FlatArrays arrays = flat_arrays(basis, candidate, recent, state, stream);
    FlatRuns(arrays).step({{arrays, flat_vector(product, arrays.n, stream)}}, stream_of(stream));
}

// numbers (7 + 3 m): see flat_run.hpp.
void read_flat(const py::object& basis, const py::object& candidate, const py::object& recent, const py::object& state,
               const py::object& numbers, std::uintptr_t stream) {
    const FlatArrays arrays = flat_arrays(basis, candidate, recent, state, stream);
    FlatRuns(arrays).read(arrays, flat_vector(numbers, gpu::flat::kNumbers + 3 * arrays.m, stream), stream_of(stream));
}

namespace xla = fastlanczos::xla;

cudaStream_t stream_of(const XLA_FFI_CallFrame* frame, XLA_FFI_Error*& failed) {
    XLA_FFI_Stream_Get_Args args{};
    args.struct_size = XLA_FFI_Stream_Get_Args_STRUCT_SIZE;
    args.ctx = frame->ctx;
    failed = frame->api->XLA_FFI_Stream_Get(&args);
    return static_cast<cudaStream_t>(args.stream);
}

// What `work(stream)` does; XLA's error for what it throws.
template <class Work>
XLA_FFI_Error* answered_on_stream(XLA_FFI_CallFrame* frame, const Work& work) {
    if (xla::told_version(frame)) return nullptr;
    XLA_FFI_Error* failed = nullptr;
    const cudaStream_t stream = stream_of(frame, failed);
    if (failed) return failed;
    try {
        work(stream);
    } catch (const std::exception& problem) {
        return xla::error(frame, std::string("fastlanczos: ") + problem.what());
    }
    return nullptr;
}

xla::Runs runs_of(const XLA_FFI_CallFrame* frame, cudaStream_t stream) {
    return xla::Runs(frame, [stream](void* to, const void* from, std::size_t size) {
        checked(cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, stream), "copying a run");
    });
}

FlatArrays flat_arrays(const xla::Runs& runs, Index run) {
    return {runs.basis_of(run),
            runs.candidate_of(run),
            runs.recent_of(run),
            runs.state_of(run),
            runs.n,
            runs.m,
            runs.rows,
            runs.stride,
            runs.width,
            runs.state_entries,
            runs.float32};
}

}  // namespace

extern "C" {

FASTLANCZOS_API XLA_FFI_Error* fastlanczos_xla_cuda_start(XLA_FFI_CallFrame* frame) {
    return answered_on_stream(frame, [frame](cudaStream_t stream) {
        const xla::Runs runs = runs_of(frame, stream);
        if (runs.count == 0) return;
        const FlatRuns engine(flat_arrays(runs, 0));
        for (Index r = 0; r < runs.count; ++r) engine.begin(flat_arrays(runs, r), runs.taken_of(r), stream);
    });
}

FASTLANCZOS_API XLA_FFI_Error* fastlanczos_xla_cuda_step(XLA_FFI_CallFrame* frame) {
    return answered_on_stream(frame, [frame](cudaStream_t stream) {
        const xla::Runs runs = runs_of(frame, stream);
        if (runs.count == 0) return;
        const FlatRuns engine(flat_arrays(runs, 0));
        for (Index begin = 0; begin < runs.count; begin += gpu::kMaxRuns) {
            std::vector<std::pair<FlatArrays, const double*>> batch;
            for (Index r = begin; r < std::min<Index>(runs.count, begin + gpu::kMaxRuns); ++r)
                batch.emplace_back(flat_arrays(runs, r), runs.taken_of(r));
            engine.step(batch, stream);
        }
    });
}

// basis, candidate, recent, state -> numbers (..., 7 + 3 m).
FASTLANCZOS_API XLA_FFI_Error* fastlanczos_xla_cuda_read(XLA_FFI_CallFrame* frame) {
    return answered_on_stream(frame, [frame](cudaStream_t stream) {
        const xla::Runs runs(frame);
        if (runs.count == 0) return;
        const FlatRuns engine(flat_arrays(runs, 0));
        const XLA_FFI_Buffer& out = xla::result(frame, 0);
        for (Index r = 0; r < runs.count; ++r)
            engine.read(flat_arrays(runs, r), xla::numbers(out) + r * xla::from_last(out), stream);
    });
}

// alpha (..., m), beta (..., m - 1) -> nodes, weights (..., m), a workspace (..., 3 m), failed (...) int32.
FASTLANCZOS_API XLA_FFI_Error* fastlanczos_xla_cuda_quadrature(XLA_FFI_CallFrame* frame) {
    return answered_on_stream(frame, [frame](cudaStream_t stream) {
        const XLA_FFI_Buffer& alpha = xla::argument(frame, 0);
        const Index m = xla::from_last(alpha), count = m > 0 ? xla::entries(alpha) / m : 0;
        if (count == 0) return;
        const OnDevice on(device_of_pointer(alpha.data));
        checked(gpu::launch_quadrature(count, m, xla::numbers(alpha), xla::numbers(xla::argument(frame, 1)),
                                       xla::numbers(xla::result(frame, 0)), xla::numbers(xla::result(frame, 1)),
                                       xla::numbers(xla::result(frame, 2)),
                                       static_cast<int*>(xla::result(frame, 3).data), stream),
                "launching the quadrature");
    });
}

}  // extern "C"
