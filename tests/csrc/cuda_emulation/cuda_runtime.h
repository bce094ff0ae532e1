// In place of CUDA's header: the part of its language and runtime that fastlanczos uses, on the emulated device.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <tuple>
#include <utility>

#include "emulation.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __grid_constant__
#define __launch_bounds__(...)
#define threadIdx (::emulation::Device::get().current->index)
#define blockIdx (::emulation::Device::get().current->block->index)
#define blockDim (::emulation::Device::get().block_size)
#define gridDim (::emulation::Device::get().grid)
#define __syncthreads() ::emulation::Device::get().wait(::emulation::Wait::block, __FILE__, __LINE__)
#define __shfl_xor_sync(mask, x, distance) ::emulation::Device::get().shuffle_xor(x, distance, __FILE__, __LINE__)

#define FASTLANCZOS_WATCH(access, pointer)                                                      \
    ::emulation::Device::get().watch(::emulation::access_##access, pointer, sizeof(*(pointer)), \
                                     alignof(std::remove_reference_t<decltype(*(pointer))>))
#define FASTLANCZOS_SHARED_MEMORY(name) unsigned char* name = ::emulation::Device::get().shared()

namespace emulation {
constexpr bool access_read = false, access_write = true;
}

using std::max;
using std::min;

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

using cudaStream_t = void*;

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorNoDevice = 100,
    cudaErrorNotReady = 600,
    cudaErrorNotSupported = 801,
    cudaErrorCooperativeLaunchTooLarge = 720,
};

enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrCooperativeLaunch = 95,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaMemoryType { cudaMemoryTypeUnregistered = 0, cudaMemoryTypeHost = 1, cudaMemoryTypeDevice = 2 };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone = 0 };
constexpr unsigned cudaHostAllocMapped = 2;

struct cudaPointerAttributes {
    cudaMemoryType type;
    int device;
};

struct cudaDeviceProp {
    char name[64];
};

inline const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorMemoryAllocation ? "out of memory" : error == cudaErrorNoDevice ? "no device" : "an error";
}
inline const char* cudaGetErrorName(cudaError_t error) { return cudaGetErrorString(error); }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidValue; }
inline cudaError_t cudaDriverGetVersion(int* version) {
    *version = 13000;
    return cudaSuccess;
}
inline cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
    std::strcpy(properties->name, "emulated GPU");
    return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    const emulation::Settings& settings = emulation::Device::get().settings;
    *value = attribute == cudaDevAttrMultiProcessorCount            ? settings.multiprocessors
             : attribute == cudaDevAttrCooperativeLaunch            ? settings.cooperative
             : attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? static_cast<int>(settings.shared_bytes)
                                                                    : 0;
    return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int) {
    return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel*, int, std::size_t) {
    *blocks = 1;
    return cudaSuccess;
}
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
    const bool device = emulation::Device::get().on_device(pointer);
    *attributes = {device ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered, device ? 0 : -1};
    return cudaSuccess;
}
inline cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
    *total = emulation::Device::get().settings.memory;
    *free = *total - emulation::Device::get().used();
    return cudaSuccess;
}
inline cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
    *memory = std::calloc(1, bytes);
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
    *device = host;
    return cudaSuccess;
}
inline cudaError_t cudaFreeHost(void* memory) {
    std::free(memory);
    return cudaSuccess;
}
inline cudaError_t cudaStreamQuery(cudaStream_t stream) {
    emulation::Device::get().note(stream);
    if (emulation::Device::get().progress(1)) return cudaErrorNotReady;
    long long& busy = emulation::Device::get().busy;
    return busy > 0 && busy-- > 0 ? cudaErrorNotReady : cudaSuccess;
}
inline cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
    *status = cudaStreamCaptureStatusNone;
    return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    emulation::Device::get().note(stream);
    emulation::Device::get().progress(static_cast<std::size_t>(-1));
    ++emulation::Device::get().synchronizations;
    return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
    emulation::Device::get().note(stream);
    emulation::Device::get().progress(static_cast<std::size_t>(-1));
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                                     std::size_t width, std::size_t height, cudaMemcpyKind, cudaStream_t stream) {
    emulation::Device::get().note(stream);
    emulation::Device::get().progress(static_cast<std::size_t>(-1));
    for (std::size_t row = 0; row < height; ++row)
        std::memcpy(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, width);
    return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t) {
    std::memset(to, value, bytes);
    return cudaSuccess;
}

namespace emulation {
template <class... Parameters, std::size_t... I>
void launch_with(void (*kernel)(Parameters...), dim3 grid, dim3 block, void** arguments, std::size_t shared,
                 bool cooperative, std::index_sequence<I...>) {
    std::tuple<std::remove_const_t<Parameters>...> values(
        *static_cast<std::remove_const_t<Parameters>*>(arguments[I])...);
    Device::get().submit([=] {
        Device::get().launch([&] { kernel(std::get<I>(values)...); }, {grid.x, grid.y, grid.z},
                             {block.x, block.y, block.z}, shared, cooperative);
    });
}
}  // namespace emulation

template <class... Parameters>
cudaError_t cudaLaunchKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, void** arguments,
                             std::size_t shared = 0, cudaStream_t stream = nullptr) {
    emulation::Device::get().note(stream);
    emulation::launch_with(kernel, grid, block, arguments, shared, false, std::index_sequence_for<Parameters...>());
    return cudaSuccess;
}
template <class... Parameters>
cudaError_t cudaLaunchCooperativeKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, void** arguments,
                                        std::size_t shared = 0, cudaStream_t stream = nullptr) {
    emulation::Device::get().note(stream);
    if (!emulation::Device::get().settings.cooperative) return cudaErrorNotSupported;
    emulation::launch_with(kernel, grid, block, arguments, shared, true, std::index_sequence_for<Parameters...>());
    return cudaSuccess;
}
