// How kernels are launched: blocks, threads and shared memory for a device, and vectors' kernels on a stream.
//
// In an unnamed namespace, since the emulation's module of the same name may be loaded beside the real one.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <tuple>

#include "device_array.hpp"
#include "fastlanczos/cuda/step.cuh"
#include "fastlanczos/cuda/vectors.cuh"

namespace gpu = fastlanczos::cuda;
using gpu::Index;

namespace {

void require(bool condition, const char* message) {
    if (!condition) throw py::value_error(message);
}

cudaStream_t stream_of(std::uintptr_t stream) { return reinterpret_cast<cudaStream_t>(stream); }

int attribute(cudaDeviceAttr what, int device) {
    int value = 0;
    checked(cudaDeviceGetAttribute(&value, what, device), "asking for a property of the device");
    return value;
}

// A whole number from the environment, from `least` to `most`; `otherwise` where there is none.
int setting(const char* name, int least, int most, int otherwise) {
    const char* text = std::getenv(name);
    if (!text || !*text) return otherwise;
    char* end = nullptr;
    const long value = std::strtol(text, &end, 10);
    if (*end || value < least || value > most)
        throw py::value_error(std::string(name) + " must be a whole number from " + std::to_string(least) + " to " +
                              std::to_string(most) + ", got '" + text + "'");
    return static_cast<int>(value);
}

// Blocks of the step, unless the device's number of them is asked for: another device then gives the same bits.
int step_blocks(int of_device) { return setting("FASTLANCZOS_CUDA_BLOCKS", 1, 1 << 16, of_device); }

// Blocks of the kernels of vectors.cuh: several to a multiprocessor, or too few loads are under way.
int vector_blocks(int device) { return 4 * step_blocks(attribute(cudaDevAttrMultiProcessorCount, device)); }

// The same for vectors of n entries: none without an entry.
int vector_blocks(int device, Index n) {
    return static_cast<int>(std::clamp<Index>((n + gpu::kMaxThreads - 1) / gpu::kMaxThreads, 1, vector_blocks(device)));
}

// How a device runs the step: found out once for each.
struct Launch {
    int blocks = 0, threads = 0, stages = 0;
    Index shared_bytes = 0;
    bool cooperative = false;
};

template <gpu::Basis basis>
Launch plan_launch(int device) {
    Launch launch;
    const OnDevice on(device);
    const int shared = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    launch.threads = gpu::kMaxThreads;
    while (launch.threads > 64 && 2 * gpu::fixed_shared_bytes(launch.threads) > shared) launch.threads /= 2;
    if (gpu::fixed_shared_bytes(launch.threads) > shared)
        throw std::runtime_error("the GPU has " + std::to_string(shared) + " bytes of shared memory for a block, and " +
                                 std::to_string(gpu::fixed_shared_bytes(launch.threads)) + " are needed");
    launch.shared_bytes = shared;
    const auto kernel = &gpu::step_kernel<basis>;
    checked(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared), "preparing the kernel");
    int on_multiprocessor = 0;
    checked(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&on_multiprocessor, kernel, launch.threads,
                                                          static_cast<std::size_t>(shared)),
            "sizing the grid");
    // The bits depend on both: into how many chunks a vector is cut, and how wide its tiles are.
    launch.blocks = step_blocks(attribute(cudaDevAttrMultiProcessorCount, device) * std::max(on_multiprocessor, 1));
    launch.stages = setting("FASTLANCZOS_CUDA_STAGES", 1, gpu::kMaxStages, gpu::kMaxStages);
    launch.cooperative = attribute(cudaDevAttrCooperativeLaunch, device) != 0;
    return launch;
}

Launch plan_launch(gpu::Basis basis, int device) {
    return basis == gpu::Basis::none      ? plan_launch<gpu::Basis::none>(device)
           : basis == gpu::Basis::float32 ? plan_launch<gpu::Basis::float32>(device)
                                          : plan_launch<gpu::Basis::float64>(device);
}

gpu::Basis basis_of(const std::string& storage) {
    require(storage == "none" || storage == "float32" || storage == "float64", "no such storage");
    return storage == "none" ? gpu::Basis::none : storage == "float32" ? gpu::Basis::float32 : gpu::Basis::float64;
}

template <class... Parameters, class... Arguments>
cudaError_t launch_vectors(void (*kernel)(Parameters...), int blocks, cudaStream_t stream, Arguments... given) {
    std::tuple<std::remove_const_t<Parameters>...> values(given...);
    return std::apply(
        [&](auto&... each) {
            void* arguments[] = {&each...};
            return cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(blocks)), dim3(gpu::kMaxThreads), arguments,
                                    std::size_t{8 * gpu::kWarp}, stream);
        },
        values);
}

// Numbers of the device's; waits for what is in the stream.
std::vector<double> read_numbers(const double* from, std::size_t count, cudaStream_t stream) {
    std::vector<double> numbers(count);
    checked(cudaMemcpyAsync(numbers.data(), from, count * sizeof(double), cudaMemcpyDeviceToHost, stream),
            "copying from the device");
    checked(cudaStreamSynchronize(stream), "waiting for the device");
    return numbers;
}

// The largest magnitude in a vector, infinite where an entry is not finite; `partial` has room for a number a block.
double gpu_largest(const double* x, Index n, double* partial, int blocks, cudaStream_t stream) {
    checked(launch_vectors(&gpu::largest_kernel, blocks, stream, x, n, partial), "looking for the largest entry");
    double largest = 0.0;
    for (const double part : read_numbers(partial, static_cast<std::size_t>(blocks), stream))
        largest = std::max(largest, part);
    return largest;
}

}  // namespace
