// Thick restarts on a GPU: rows replaced by combinations of them in place, and a new candidate; see ../step.hpp.
//
// A restart of k rows is one pass over them: rotate() holds a tile of all rows in shared memory and writes the l
// combinations over the first of them, and the candidate without its part along the old rows. Its dot products with the
// new rows are a sweep of step.cuh that subtracts nothing, and what follows from them is written as after a step. All
// is launched in the stream's order, and the host waits for none of it.
#pragma once

#include "step.cuh"

namespace fastlanczos::cuda {

constexpr int kOutputs = 8;  // combinations that a thread forms of what it reads of a column

// Columns of a tile of k rows, a power of two; 0 where not even four fit.
__host__ __device__ inline int rotation_width(Index k, int threads, Index shared_bytes) {
    for (int width = threads; width >= 4; width /= 2)
        if (k * width * 8 <= shared_bytes) return width;
    return 0;
}

// `rotation`: entry (i, j), of old row j in new row i, at [j * padded + i], padded to a multiple of kOutputs. The
// candidate is corrected where `with_candidate` says so. The newest rows are written in float64 beside a basis in
// float32.
template <Basis basis>
__global__ void __launch_bounds__(kMaxThreads, 1) rotate_kernel(const __grid_constant__ Run run, Index k, Index l,
                                                                const double* rotation, int width, int with_candidate) {
    using Value = std::conditional_t<basis == Basis::float32, float, double>;
    FASTLANCZOS_SHARED_MEMORY(shared);
    auto* tile = reinterpret_cast<double*>(shared);
    auto* values = static_cast<Value*>(run.basis);
    const int group = static_cast<int>(threadIdx.x) / width, groups = static_cast<int>(blockDim.x) / width;
    const int column = static_cast<int>(threadIdx.x) % width;
    const Index padded = (l + kOutputs - 1) / kOutputs * kOutputs, tiles = (run.dim + width - 1) / width;
    const auto recent = [&](Index row) { return run.recent + row % 2 * run.recent_stride(); };
    for (Index t = blockIdx.x; t < tiles; t += gridDim.x) {
        const Index c = t * width + column;
        const bool inside = c < run.dim;
#pragma unroll 4
        for (Index j = group; j < k; j += groups) {
            const double x = inside ? static_cast<double>(load(values + j * run.stride + c)) : 0.0;
            store(tile + j * width + column, x);
        }
        __syncthreads();
        for (Index i = group * kOutputs; i < padded; i += groups * kOutputs) {
            double sums[kOutputs];
#pragma unroll
            for (double& sum : sums) sum = 0.0;
            for (Index j = 0; j < k; ++j) {
                const double x = load(tile + j * width + column);
                const auto* factors = reinterpret_cast<const Pair<double>*>(rotation + j * padded + i);
#pragma unroll
                for (int o = 0; o < kOutputs; o += 2) {
                    const Pair<double> factor = load(factors + o / 2);
                    sums[o] += factor.first * x;
                    sums[o + 1] += factor.second * x;
                }
            }
#pragma unroll
            for (int o = 0; o < kOutputs; ++o) {
                if (!inside || i + o >= l) continue;
                store(values + (i + o) * run.stride + c, static_cast<Value>(sums[o]));
                if (basis == Basis::float32 && i + o + 2 >= l) store(recent(i + o) + c, sums[o]);
            }
        }
        if (with_candidate && group == groups - 1 && inside) {
            double sum = 0.0;
            for (Index j = 0; j < k; ++j) sum += load(run.h + j) * load(tile + j * width + column);
            store(run.candidate + c, load(run.candidate + c) - sum);
        }
        __syncthreads();  // the tile is used again
    }
}

// T after a restart, in units of 2^exponent: the values of the l rows, and what couples them to the candidate.
struct Restarted {
    Index rows = 0;
    const double *theta = nullptr, *coupling = nullptr;  // (rows)
    double scale = 0.0;
    int exponent = 0;
    int has_candidate = 0;
};

// What is written by one block: T after a restart; T with nothing that couples its rows to the candidate; the dot
// products as what the next sweep subtracts; or h and all else that the next step needs.
enum class Entry : int { restarted, uncoupled, correction, next };

__global__ inline void write_kernel(const __grid_constant__ Run run, Entry what, const __grid_constant__ Restarted to) {
    FASTLANCZOS_SHARED_MEMORY(shared);
    auto* room = reinterpret_cast<double*>(shared);
    Scalars* s = run.scalars;
    const bool leader = threadIdx.x == 0;
    if (what == Entry::restarted) {
        for (Index j = threadIdx.x; j < to.rows; j += blockDim.x) {
            store(run.alpha + j, load(to.theta + j));
            store(run.beta + j, 0.0);
            store(run.coupling + j, load(to.coupling + j));
            store(run.coefficients + j, Pair<double>{0.0, 0.0});
        }
        if (!leader) return;
        store(&s->steps, to.rows);
        store(&s->combined, to.rows);
        store(&s->scale, to.scale);
        store(&s->exponent, to.exponent);
        store(&s->status, to.has_candidate ? Status::running : Status::breakdown);
        store(&s->taken, 1);
        store(&s->again, 1);
        return;
    }
    const Index k = load(&s->steps);
    if (what == Entry::uncoupled) {
        const Index l = load(&s->combined);
        for (Index j = threadIdx.x; j < k; j += blockDim.x) {
            store(run.coefficients + j, Pair<double>{0.0, 0.0});
            if (k == l) store(run.coupling + j, 0.0);
            if (j + 1 == k) store(run.beta + j, 0.0);
        }
        if (!leader) return;
        store(&s->status, Status::running);
        store(&s->taken, 1);
        store(&s->again, 1);
        return;
    }
    if (what == Entry::correction) {
        for (Index j = threadIdx.x; j < k; j += blockDim.x)
            store(run.coefficients + j, Pair<double>{0.0, load(run.dots + j)});
        return;
    }
    const double norm = sqrt(load(run.dots + k + 1));
    const double square = detail::take_h(run, k, norm, room);
    detail::prepare_next(run, k, square, 0.0, room);
    if (!leader) return;
    store(&s->again, 0);
    store(&s->inverse_beta, 1.0 / norm);
}

inline cudaError_t launch_rotation(const Run& run, Basis basis, Index k, Index l, const double* rotation,
                                   bool with_candidate, int blocks, int threads, Index shared_bytes,
                                   cudaStream_t stream) {
    Run copy = run;
    int width = rotation_width(k, threads, shared_bytes), candidate_too = with_candidate ? 1 : 0;
    void* arguments[] = {&copy, &k, &l, &rotation, &width, &candidate_too};
    const dim3 grid(static_cast<unsigned>(blocks)), block(static_cast<unsigned>(threads));
    const auto shared = static_cast<std::size_t>(shared_bytes);
    return basis == Basis::float32
               ? cudaLaunchKernel(&rotate_kernel<Basis::float32>, grid, block, arguments, shared, stream)
               : cudaLaunchKernel(&rotate_kernel<Basis::float64>, grid, block, arguments, shared, stream);
}

inline cudaError_t launch_write(const Run& run, Entry what, const Restarted& to, int threads, cudaStream_t stream) {
    Run copy = run;
    Restarted values = to;
    void* arguments[] = {&copy, &what, &values};
    return cudaLaunchKernel(&write_kernel, dim3(1), dim3(static_cast<unsigned>(threads)), arguments,
                            std::size_t{8 * kWarp}, stream);
}

// The one run of `batch`: its candidate less what write_kernel() has put down, and its dot products with all rows.
inline cudaError_t launch_projection(const Batch& batch, Basis basis, int threads, cudaStream_t stream) {
    for (const int phase : {4, 5})  // sweep and total of the second round
        if (const cudaError_t status = launch_phase(batch, basis, threads, phase, stream)) return status;
    return cudaSuccess;
}

// The candidate becomes a unit vector, from which the next step goes on.
inline cudaError_t launch_next(const Batch& batch, Basis basis, int threads, cudaStream_t stream) {
    if (const cudaError_t status = launch_write(batch.runs[0], Entry::next, {}, threads, stream)) return status;
    return launch_phase(batch, basis, threads, kPhases - 1, stream);
}

// Replaces the k rows of the one run of `batch`.
inline cudaError_t launch_restart(const Batch& batch, Basis basis, Index k, const double* rotation, const Restarted& to,
                                  int threads, cudaStream_t stream) {
    const Run& run = batch.runs[0];
    const bool goes_on = to.has_candidate != 0;
    if (const cudaError_t status = launch_rotation(run, basis, k, to.rows, rotation, goes_on, batch.blocks, threads,
                                                   batch.shared_bytes, stream))
        return status;
    if (const cudaError_t status = launch_write(run, Entry::restarted, to, threads, stream)) return status;
    if (!goes_on) return cudaSuccess;
    if (const cudaError_t status = launch_projection(batch, basis, threads, stream)) return status;
    return launch_next(batch, basis, threads, stream);
}

}  // namespace fastlanczos::cuda
