// What the kernels are written in: watched loads and stores, pairs, and reductions in a fixed order.
//
// Every access to shared or global memory goes through load() and store(), and every asynchronous copy through
// copy_async(). On a device they are the plain access. Under the emulation (tests/csrc/cuda_emulation), which compiles
// the same files for the CPU, each is checked for bounds, for memory that nobody has written, and for races.
#pragma once

#include <cooperative_groups.h>
#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <type_traits>

#if !defined(FASTLANCZOS_WATCH)
#define FASTLANCZOS_WATCH(access, pointer)
#define FASTLANCZOS_SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]
#endif

namespace fastlanczos::cuda {

using Index = long long;

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kMaxThreads = 256;  // of a block

template <class T>
struct alignas(2 * sizeof(T)) Pair {
    T first, second;
};

template <class T>
__device__ __forceinline__ T load(const T* pointer) {
    FASTLANCZOS_WATCH(read, pointer);
    return *pointer;
}

template <class T>
__device__ __forceinline__ void store(T* pointer, T value) {
    FASTLANCZOS_WATCH(write, pointer);
    *pointer = value;
}

// 16 bytes from global to shared memory, the last `zeros` of them as zeros and not read; there after arrive().
__device__ __forceinline__ void copy_async(void* to, const void* from, int zeros) {
    __pipeline_memcpy_async(to, from, 16, static_cast<std::size_t>(zeros));
}

__device__ __forceinline__ void commit_copies() { __pipeline_commit(); }

constexpr int kMaxPending = 4;

// All copies of this thread but those of the last `pending` commits are there. The instruction has the number in it.
__device__ __forceinline__ void arrive(int pending) {
    switch (pending) {
        case 0:
            __pipeline_wait_prior(0);
            break;
        case 1:
            __pipeline_wait_prior(1);
            break;
        case 2:
            __pipeline_wait_prior(2);
            break;
        case 3:
            __pipeline_wait_prior(3);
            break;
        default:
            __pipeline_wait_prior(kMaxPending);
    }
}

__device__ __forceinline__ void grid_barrier() { cooperative_groups::this_grid().sync(); }

__device__ __forceinline__ int warp_of_thread() { return static_cast<int>(threadIdx.x) / kWarp; }
__device__ __forceinline__ int lane_of_thread() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ __forceinline__ int warps_of_block() { return static_cast<int>(blockDim.x) / kWarp; }

struct Plus {
    __device__ double operator()(double x, double y) const { return x + y; }
};
struct Largest {
    __device__ double operator()(double x, double y) const { return x > y ? x : y; }
};

// The same in every lane, in an order that depends on nothing.
template <class Operation = Plus>
__device__ __forceinline__ double reduce_warp(double x, Operation combine = {}) {
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2) x = combine(x, __shfl_xor_sync(kAllLanes, x, distance));
    return x;
}

// The sum of so many neighbouring lanes, a power of two, in each of them.
__device__ __forceinline__ double reduce_lanes(double x, int lanes) {
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        const double other = __shfl_xor_sync(kAllLanes, x, distance);
        if (distance < lanes) x += other;
    }
    return x;
}

// The same in every thread; `room` is shared memory for a double a warp. All threads of the block take part.
template <class Operation = Plus>
__device__ double reduce_block(double x, double* room, Operation combine = {}) {
    x = reduce_warp(x, combine);
    if (lane_of_thread() == 0) store(room + warp_of_thread(), x);
    __syncthreads();
    double total = load(room);
    for (int warp = 1; warp < warps_of_block(); ++warp) total = combine(total, load(room + warp));
    __syncthreads();  // the room may be used again
    return total;
}

}  // namespace fastlanczos::cuda
