// The arithmetic of vectors.cuh on the emulated device.
#pragma once

#include <tuple>

#include "cases.hpp"
#include "fastlanczos/cuda/vectors.cuh"

namespace {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), unsigned blocks, Arguments... given) {
    std::tuple<std::remove_const_t<Parameters>...> values(given...);
    std::apply(
        [&](auto&... each) {
            void* arguments[] = {&each...};
            cudaLaunchKernel(kernel, dim3(blocks), dim3(64), arguments, 1024, nullptr);
        },
        values);
}

void check_vectors(Index n, Index rows) {
    const unsigned blocks = 3;
    const Vector values = normal(rows * n, 3), other = normal(n, 4);
    auto *V = on_device<double>(values.size()), *z = on_device<double>(other.size()),
         *y = on_device<double>(other.size()), *weights = on_device<double>(static_cast<std::size_t>(rows)),
         *partial = on_device<double>(static_cast<std::size_t>(rows * blocks));
    std::copy(values.begin(), values.end(), V);
    std::copy(other.begin(), other.end(), z);
    double worst = 0.0;
    try {
        launch(&cuda::terms_kernel, blocks, cuda::Terms{3, {z, V, V + n}, {2.0, -1.0, 0.5}}, n, z);
        for (Index c = 0; c < n; ++c) {
            const auto i = static_cast<std::size_t>(c);
            const double expected = 2.0 * other[i] - values[i] + 0.5 * values[i + static_cast<std::size_t>(n)];
            worst = std::max(worst, std::abs(z[c] - expected));
        }
        for (Index j = 0; j < rows; ++j) weights[j] = 0.1 * static_cast<double>(j + 1);
        launch(&cuda::combine_kernel<double>, blocks, V, n, rows, weights, n, y);
        launch(&cuda::inner_kernel<double>, blocks, V, n, rows, z, 0.5, n, partial);
        for (Index c = 0; c < n; ++c) {
            double expected = 0.0;
            for (Index j = 0; j < rows; ++j) expected += weights[j] * V[j * n + c];
            worst = std::max(worst, std::abs(y[c] - expected));
        }
        for (Index j = 0; j < rows; ++j) {
            double expected = 0.0, found = 0.0;
            for (Index c = 0; c < n; ++c) expected += 0.5 * z[c] * V[j * n + c];
            for (unsigned b = 0; b < blocks; ++b) found += partial[j * blocks + b];
            worst = std::max(worst, std::abs(found - expected));
        }
        z[n - 1] = -77.0;
        launch(&cuda::largest_kernel, blocks, z, n, partial);
        expect(*std::max_element(partial, partial + blocks) == 77.0, "the largest entry was not found");
        z[n / 2] = NAN;
        launch(&cuda::largest_kernel, blocks, z, n, partial);
        expect(std::isinf(*std::max_element(partial, partial + blocks)), "an entry that is not finite was not found");
    } catch (const emulation::Failure& failure) {
        expect(false, failure.what());
    }
    expect(worst < 1e-12, "arithmetic of vectors is off by " + std::to_string(worst));
    for (double* memory : {V, z, y, weights, partial}) Device::get().release(memory);
}

}  // namespace
