// The arithmetic of vectors.cuh on the emulated device.
#pragma once

#include <complex>
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

// Complex combinations, inner products and rotations of rows, beside the same in std::complex.
void check_complex(Index n, Index rows) {
    using Number = std::complex<double>;
    const unsigned blocks = 3;
    const Index left = rows / 2 + 1;
    const auto numbers = [](Index count, unsigned seed) {
        const Vector parts = normal(2 * count, seed);
        std::vector<Number> result(static_cast<std::size_t>(count));
        for (std::size_t i = 0; i < result.size(); ++i) result[i] = {parts[2 * i], parts[2 * i + 1]};
        return result;
    };
    const auto values = numbers(rows * n, 5), other = numbers(n, 6), factors = numbers(left * rows, 7);
    const auto there = [](const std::vector<Number>& x) {
        auto* memory = on_device<cuda::Complex>(x.size());
        for (std::size_t i = 0; i < x.size(); ++i) memory[i] = {x[i].real(), x[i].imag()};
        return memory;
    };
    auto *V = there(values), *z = there(other), *rotation = there(factors), *y = on_device<cuda::Complex>(other.size()),
         *partial = on_device<cuda::Complex>(static_cast<std::size_t>(rows * blocks));
    const auto at = [](cuda::Complex x) { return Number(x.first, x.second); };
    const auto V_at = [&](Index j, Index c) { return values[static_cast<std::size_t>(j * n + c)]; };
    double worst = 0.0;
    try {
        launch(&cuda::combine_kernel<cuda::Complex>, blocks, V, n, rows, rotation, z, n, y);
        launch(&cuda::inner_kernel<cuda::Complex>, blocks, V, n, rows, z, 0.5, n, partial);
        for (Index c = 0; c < n; ++c) {
            Number expected = other[static_cast<std::size_t>(c)];
            for (Index j = 0; j < rows; ++j) expected += factors[static_cast<std::size_t>(j)] * V_at(j, c);
            worst = std::max(worst, std::abs(at(y[c]) - expected));
        }
        for (Index j = 0; j < rows; ++j) {
            Number expected = 0.0, found = 0.0;
            for (Index c = 0; c < n; ++c) expected += 0.5 * std::conj(V_at(j, c)) * other[static_cast<std::size_t>(c)];
            for (unsigned b = 0; b < blocks; ++b) found += at(partial[j * blocks + b]);
            worst = std::max(worst, std::abs(found - expected));
        }
        const int width = cuda::turn_width(rows, sizeof(cuda::Complex), 64, 1024);
        launch(&cuda::turn_kernel<cuda::Complex>, blocks, V, n, rows, left, rotation, n, width);
        for (Index i = 0; i < left; ++i)
            for (Index c = 0; c < n; ++c) {
                Number expected = 0.0;
                for (Index j = 0; j < rows; ++j)
                    expected += factors[static_cast<std::size_t>(i * rows + j)] * V_at(j, c);
                worst = std::max(worst, std::abs(at(V[i * n + c]) - expected));
            }
        for (Index i = left; i < rows; ++i)
            for (Index c = 0; c < n; ++c) worst = std::max(worst, std::abs(at(V[i * n + c]) - V_at(i, c)));
    } catch (const emulation::Failure& failure) {
        expect(false, failure.what());
    }
    expect(worst < 1e-11, "complex arithmetic of vectors is off by " + std::to_string(worst));
    for (cuda::Complex* memory : {V, z, rotation, y, partial}) Device::get().release(memory);
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
        launch(&cuda::combine_kernel<double>, blocks, V, n, rows, weights, nullptr, n, y);
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
