// A run in a compiler's memory on a GPU, without a word to or from the host: begun from a vector of any norm, and read
// as the numbers of ../flat_run.hpp. The workspace of run.cuh is its array of numbers.
#pragma once

#include "sharing.cuh"
#include "vectors.cuh"

namespace fastlanczos::cuda {

namespace flat {

// Places of the numbers that are read, as in ../flat_run.hpp; then alpha (m), beta (m), h (m).
enum Number : int { kSteps, kSweeps, kExponent, kBreakdown, kScale, kMaxProjection, kNotFinite, kNumbers };

}  // namespace flat

// What the device tells of the run, in the room that the workspace has behind its scalars: nobody listens.
inline volatile int* told_to_nobody(const Run& run) { return reinterpret_cast<volatile int*>(run.scalars + 1); }

// candidate = v0 times a power of two that leaves no square beyond range, or zero where v0 is zero or not finite;
// partial[blocks + block] = a block's part of its square. partial[block]: what largest_kernel has left there.
__global__ inline void scale_kernel(const __grid_constant__ Run run, const double* v0) {
    FASTLANCZOS_SHARED_MEMORY(shared);
    auto* room = reinterpret_cast<double*>(shared);
    double largest = 0.0;
    for (unsigned block = threadIdx.x; block < gridDim.x; block += blockDim.x)
        largest = fmax(largest, load(run.partial + block));
    largest = reduce_block(largest, room, Largest());
    const bool good = largest > 0.0 && largest <= DBL_MAX;
    const double factor = good ? ldexp(1.0, -max(-1000, min(1000, ilogb(largest)))) : 0.0;
    double square = 0.0;
    for (Index c = first_of_grid(); c < run.dim; c += threads_of_grid()) {
        const double x = good ? factor * load(v0 + c) : 0.0;
        store(run.candidate + c, x);
        square += x * x;
    }
    square = reduce_block(square, room);
    if (threadIdx.x == 0) store(run.partial + gridDim.x + blockIdx.x, square);
}

// The candidate becomes a unit vector, and the scalars those of a run without a step.
__global__ inline void begin_kernel(const __grid_constant__ Run run) {
    FASTLANCZOS_SHARED_MEMORY(shared);
    double square = 0.0;
    for (unsigned block = threadIdx.x; block < gridDim.x; block += blockDim.x)
        square += load(run.partial + gridDim.x + block);
    square = reduce_block(square, reinterpret_cast<double*>(shared));
    const double norm = sqrt(square);
    for (Index c = first_of_grid(); norm > 0.0 && c < run.dim; c += threads_of_grid())
        store(run.candidate + c, load(run.candidate + c) / norm);
    if (first_of_grid() > 0) return;
    Scalars scalars;
    if (!(norm > 0.0)) scalars.status = Status::not_finite;
    store(run.scalars, scalars);
}

inline cudaError_t launch_begin(const Run& run, const double* v0, int blocks, int threads, cudaStream_t stream) {
    const dim3 grid(static_cast<unsigned>(blocks)), block(static_cast<unsigned>(threads));
    Run copy = run;
    Index n = run.dim;
    void *looking[] = {&v0, &n, &copy.partial}, *scaling[] = {&copy, &v0}, *beginning[] = {&copy};
    constexpr std::size_t room = 8 * kWarp;
    if (const cudaError_t status = cudaLaunchKernel(&largest_kernel, grid, block, looking, room, stream)) return status;
    if (const cudaError_t status = cudaLaunchKernel(&scale_kernel, grid, block, scaling, room, stream)) return status;
    return cudaLaunchKernel(&begin_kernel, grid, block, beginning, room, stream);
}

// numbers (7 + 3 m) = the run's, alpha and beta no longer in units of 2^exponent; one block.
__global__ inline void read_kernel(const __grid_constant__ Run run, Basis basis, double* numbers) {
    const Scalars s = load(run.scalars);
    const Index m = run.max_steps, k = s.steps;
    const Index kept = s.status == Status::breakdown ? 0 : basis == Basis::none && k > 2 ? 2 : k;
    double* alpha = numbers + flat::kNumbers;
    for (Index j = threadIdx.x; j < m; j += blockDim.x) {
        store(alpha + j, j < k ? ldexp(load(run.alpha + j), s.exponent) : 0.0);
        store(alpha + m + j, j < k ? ldexp(load(run.beta + j), s.exponent) : 0.0);
        store(alpha + 2 * m + j, j < kept ? load(run.h + j) : 0.0);
    }
    if (threadIdx.x > 0) return;
    store(numbers + flat::kSteps, static_cast<double>(k));
    store(numbers + flat::kSweeps, static_cast<double>(s.sweeps));
    store(numbers + flat::kExponent, static_cast<double>(s.exponent));
    const bool begun = k > 0 || s.status != Status::not_finite;
    store(numbers + flat::kBreakdown, s.status == Status::breakdown || !begun ? 1.0 : 0.0);
    store(numbers + flat::kScale, s.scale);
    store(numbers + flat::kMaxProjection, s.max_projection);
    store(numbers + flat::kNotFinite, s.status == Status::not_finite ? 1.0 : 0.0);
}

inline cudaError_t launch_read(const Run& run, Basis basis, double* numbers, int threads, cudaStream_t stream) {
    return launch_alone(&read_kernel, threads, stream, run, basis, numbers);
}

}  // namespace fastlanczos::cuda
