// Arithmetic of long vectors for what goes on between steps: combinations, dot products, the largest entry; and for
// spaces that grow by blocks, rows replaced by combinations of them. Complex entries are pairs.
//
// Sums come as one number for each block, in a fixed order; whoever asked adds them up. A combination may be written
// over one of its terms.
#pragma once

#include <cfloat>

#include "device.cuh"

namespace fastlanczos::cuda {

constexpr int kMaxTerms = 4;
constexpr int kRowsAtOnce = 4;    // that a pass over z takes dot products with
constexpr int kTurnedAtOnce = 4;  // combinations that a thread forms of what it reads of a column

using Complex = Pair<double>;

// What an entry of rows is computed in.
template <class Value>
using Wide = std::conditional_t<std::is_same_v<Value, Complex>, Complex, double>;

__device__ __forceinline__ void add_product(double& sum, double x, double y) { sum += x * y; }
__device__ __forceinline__ void add_product(Complex& sum, Complex x, Complex y) {
    sum.first += x.first * y.first - x.second * y.second;
    sum.second += x.first * y.second + x.second * y.first;
}
// The same with the conjugate of x.
__device__ __forceinline__ void add_inner(double& sum, double x, double y) { sum += x * y; }
__device__ __forceinline__ void add_inner(Complex& sum, Complex x, Complex y) {
    sum.first += x.first * y.first + x.second * y.second;
    sum.second += x.first * y.second - x.second * y.first;
}
__device__ __forceinline__ double times(double factor, double x) { return factor * x; }
__device__ __forceinline__ Complex times(double factor, Complex x) { return {factor * x.first, factor * x.second}; }

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

// y = from + sum of weights[j] row j; `from` may be null, or y itself.
template <class Value>
__global__ void combine_kernel(const Value* rows, Index stride, Index count, const Wide<Value>* weights,
                               const Wide<Value>* from, Index n, Wide<Value>* y) {
    for (Index c = first_of_grid(); c < n; c += threads_of_grid()) {
        Wide<Value> sum = from ? load(from + c) : Wide<Value>{};
#pragma unroll 4
        for (Index j = 0; j < count; ++j)
            add_product(sum, load(weights + j), static_cast<Wide<Value>>(load(rows + j * stride + c)));
        store(y + c, sum);
    }
}

__device__ __forceinline__ double block_sum(double x, double* room) { return reduce_block(x, room); }
__device__ inline Complex block_sum(Complex x, double* room) {
    const double re = reduce_block(x.first, room);
    return {re, reduce_block(x.second, room)};
}

// partial[j * gridDim.x + block] = a block's part of row j . (factor * z), complex rows conjugated.
template <class Value>
__global__ void inner_kernel(const Value* rows, Index stride, Index count, const Wide<Value>* z, double factor, Index n,
                             Wide<Value>* partial) {
    FASTLANCZOS_SHARED_MEMORY(shared);
    auto* room = reinterpret_cast<double*>(shared);
    for (Index first = 0; first < count; first += kRowsAtOnce) {
        Wide<Value> sums[kRowsAtOnce];
#pragma unroll
        for (auto& sum : sums) sum = {};
        for (Index c = first_of_grid(); c < n; c += threads_of_grid()) {
            const Wide<Value> x = times(factor, load(z + c));
#pragma unroll
            for (int r = 0; r < kRowsAtOnce; ++r)
                if (first + r < count)
                    add_inner(sums[r], static_cast<Wide<Value>>(load(rows + (first + r) * stride + c)), x);
        }
        for (int r = 0; r < kRowsAtOnce; ++r) {
            if (first + r >= count) break;
            const Wide<Value> sum = block_sum(sums[r], room);
            if (threadIdx.x == 0) store(partial + (first + r) * gridDim.x + blockIdx.x, sum);
        }
    }
}

// The first l of k rows become combinations of all of them, sum of rotation[i * k + j] row j, in place: a tile of all
// rows is held in shared memory, `width` columns of it. `width` divides the threads of a block.
template <class Value>
__global__ void turn_kernel(Value* rows, Index stride, Index k, Index l, const Value* rotation, Index n, int width) {
    FASTLANCZOS_SHARED_MEMORY(shared);
    auto* tile = reinterpret_cast<Value*>(shared);
    const int group = static_cast<int>(threadIdx.x) / width, groups = static_cast<int>(blockDim.x) / width;
    const int column = static_cast<int>(threadIdx.x) % width;
    for (Index t = blockIdx.x; t * width < n; t += gridDim.x) {
        const Index c = t * width + column;
        if (c < n)
            for (Index j = group; j < k; j += groups) store(tile + j * width + column, load(rows + j * stride + c));
        __syncthreads();
        if (c < n)
            for (Index i = group * kTurnedAtOnce; i < l; i += groups * kTurnedAtOnce) {
                Value sums[kTurnedAtOnce];
#pragma unroll
                for (auto& sum : sums) sum = {};
                for (Index j = 0; j < k; ++j) {
                    const Value x = load(tile + j * width + column);
#pragma unroll
                    for (int o = 0; o < kTurnedAtOnce; ++o)
                        if (i + o < l) add_product(sums[o], load(rotation + (i + o) * k + j), x);
                }
#pragma unroll
                for (int o = 0; o < kTurnedAtOnce; ++o)
                    if (i + o < l) store(rows + (i + o) * stride + c, sums[o]);
            }
        __syncthreads();  // the tile is used again
    }
}

// Columns of a tile of k rows, a power of two; 0 where not even one fits.
__host__ __device__ inline int turn_width(Index k, Index entry_bytes, int threads, Index shared_bytes) {
    for (int width = threads; width >= 1; width /= 2)
        if (k * width * entry_bytes <= shared_bytes) return width;
    return 0;
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
