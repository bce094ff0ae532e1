// Arithmetic of long vectors for what goes on between steps: combinations, dot products, the largest entry.
//
// Sums come as one number for each block, in a fixed order; whoever asked adds them up. A combination may be written
// over one of its terms.
#pragma once

#include <cfloat>

#include "device.cuh"

namespace fastlanczos::cuda {

constexpr int kMaxTerms = 4;
constexpr int kRowsAtOnce = 4;  // that a pass over z takes dot products with

struct Terms {
    int count = 0;
    const double* x[kMaxTerms] = {};
    double factors[kMaxTerms] = {};
};

__device__ __forceinline__ Index first_of_grid() {
    return static_cast<Index>(blockIdx.x) * blockDim.x + static_cast<Index>(threadIdx.x);
}
__device__ __forceinline__ Index threads_of_grid() {
    return static_cast<Index>(gridDim.x) * static_cast<Index>(blockDim.x);
}

// y = sum of factors[i] x[i].
__global__ inline void terms_kernel(const __grid_constant__ Terms terms, Index n, double* y) {
    for (Index c = first_of_grid(); c < n; c += threads_of_grid()) {
        double sum = 0.0;
        for (int i = 0; i < terms.count; ++i) sum += terms.factors[i] * load(terms.x[i] + c);
        store(y + c, sum);
    }
}

// y = sum of weights[j] row j.
template <class Value>
__global__ void combine_kernel(const Value* rows, Index stride, Index count, const double* weights, Index n,
                               double* y) {
    for (Index c = first_of_grid(); c < n; c += threads_of_grid()) {
        double sum = 0.0;
#pragma unroll 4
        for (Index j = 0; j < count; ++j) sum += load(weights + j) * static_cast<double>(load(rows + j * stride + c));
        store(y + c, sum);
    }
}

// partial[j * gridDim.x + block] = a block's part of (factor * z) . row j.
template <class Value>
__global__ void inner_kernel(const Value* rows, Index stride, Index count, const double* z, double factor, Index n,
                             double* partial) {
    FASTLANCZOS_SHARED_MEMORY(shared);
    auto* room = reinterpret_cast<double*>(shared);
    for (Index first = 0; first < count; first += kRowsAtOnce) {
        double sums[kRowsAtOnce];
#pragma unroll
        for (double& sum : sums) sum = 0.0;
        for (Index c = first_of_grid(); c < n; c += threads_of_grid()) {
            const double x = factor * load(z + c);
#pragma unroll
            for (int r = 0; r < kRowsAtOnce; ++r)
                if (first + r < count) sums[r] += x * static_cast<double>(load(rows + (first + r) * stride + c));
        }
        for (int r = 0; r < kRowsAtOnce; ++r) {
            if (first + r >= count) break;
            const double sum = reduce_block(sums[r], room);
            if (threadIdx.x == 0) store(partial + (first + r) * gridDim.x + blockIdx.x, sum);
        }
    }
}

// partial[block] = the largest magnitude that a block sees; infinite where an entry is not finite.
__global__ inline void largest_kernel(const double* z, Index n, double* partial) {
    FASTLANCZOS_SHARED_MEMORY(shared);
    double largest = 0.0;
    for (Index c = first_of_grid(); c < n; c += threads_of_grid()) {
        const double magnitude = fabs(load(z + c));
        if (!(magnitude <= DBL_MAX))
            largest = HUGE_VAL;
        else if (magnitude > largest)
            largest = magnitude;
    }
    largest = reduce_block(largest, reinterpret_cast<double*>(shared), Largest());
    if (threadIdx.x == 0) store(partial + blockIdx.x, largest);
}

}  // namespace fastlanczos::cuda
