// The functions of fastlanczos.h, over step.hpp. Included once in a program: by c_interface.cpp, or by the extension.
#pragma once

#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "fastlanczos.h"
#include "huge_pages.hpp"
#include "step.hpp"
#include "tridiagonal.hpp"

struct fastlanczos_run {
    fastlanczos_run(int64_t n, int64_t max_steps, int storage)
        : dim(n), rows_in(storage), candidate(size(n)), vector(size(n)), product(size(n)) {
        const int64_t rows = storage == FASTLANCZOS_NO_BASIS ? 0 : std::min(n, max_steps);
        if (storage == FASTLANCZOS_FLOAT64) allocate(basis64, rows);
        if (storage == FASTLANCZOS_FLOAT32) allocate(basis32, rows);
        recent.resize(size(storage == FASTLANCZOS_FLOAT64 ? 0 : storage == FASTLANCZOS_FLOAT32 ? 2 * n : n));
        fastlanczos::Memory memory;
        memory.basis = storage == FASTLANCZOS_FLOAT32 ? static_cast<void*>(basis32.get()) : basis64.get();
        memory.stride = n;
        memory.candidate = candidate.data();
        memory.recent = recent.data();
        memory.vector = vector.data();
        lanczos.reset(new fastlanczos::Lanczos(n, max_steps, kind(), memory));
    }

    fastlanczos::Basis kind() const {
        return rows_in == FASTLANCZOS_NO_BASIS  ? fastlanczos::Basis::none
               : rows_in == FASTLANCZOS_FLOAT32 ? fastlanczos::Basis::float32
                                                : fastlanczos::Basis::float64;
    }

    static std::size_t size(int64_t n) { return static_cast<std::size_t>(n); }

    // Rows that are not touched before they are written, as there may be many more than are used.
    template <class Row>
    void allocate(std::unique_ptr<Row[]>& basis, int64_t rows) {
        if (dim > std::numeric_limits<int64_t>::max() / (rows * 8)) throw std::bad_alloc();
        basis.reset(new Row[size(rows * dim)]);
        fastlanczos::request_huge_pages(basis.get(), size(rows * dim) * sizeof(Row));
    }

    int64_t dim;
    int rows_in;
    bool begun = false;
    std::unique_ptr<double[]> basis64;
    std::unique_ptr<float[]> basis32;
    std::vector<double> candidate, recent, vector, product;
    std::unique_ptr<fastlanczos::Lanczos> lanczos;
    mutable std::string message;
};

namespace fastlanczos {
namespace c_interface {

inline std::string& without_run() {
    thread_local std::string message;
    return message;
}

inline std::string& message_of(const fastlanczos_run* run) { return run ? run->message : without_run(); }

// What `work` returns, or the code of what it throws, whose message is kept.
template <class Work>
int guarded(const fastlanczos_run* run, const Work& work) {
    std::string& message = message_of(run);
    try {
        message.clear();
        return work();
    } catch (const std::bad_alloc&) {
        message = "not enough memory";
        return FASTLANCZOS_MEMORY;
    } catch (const std::length_error&) {
        message = "not enough memory";
        return FASTLANCZOS_MEMORY;
    } catch (const std::invalid_argument& error) {
        message = error.what();
        return FASTLANCZOS_ARGUMENT;
    } catch (const std::logic_error& error) {
        message = error.what();
        return FASTLANCZOS_ARGUMENT;
    } catch (const std::exception& error) {
        message = error.what();
    } catch (...) {
        message = "an unknown error";
    }
    return FASTLANCZOS_OTHER;
}

inline void demand(bool good, const char* message) {
    if (!good) throw std::invalid_argument(message);
}

inline void demand_begun(const fastlanczos_run* run) {
    demand(run != nullptr, "run is NULL");
    demand(run->begun, "fastlanczos_start comes first");
}

inline int code_of(const fastlanczos_run* run) {
    if (run->lanczos->state().breakdown && run->lanczos->state().steps < run->lanczos->max_steps())
        return FASTLANCZOS_BREAKDOWN;
    return run->lanczos->finished() ? FASTLANCZOS_COMPLETE : FASTLANCZOS_RUNNING;
}

inline int step(fastlanczos_run* run, const double* product) {
    if (run->lanczos->step(product) != Outcome::not_finite) return code_of(run);
    run->message = "the product in step " + std::to_string(run->lanczos->state().steps + 1) +
                   " has entries that are NaN or infinite";
    return FASTLANCZOS_NOT_FINITE;
}

}  // namespace c_interface
}  // namespace fastlanczos

extern "C" {

FASTLANCZOS_API int fastlanczos_interface_version(void) { return FASTLANCZOS_INTERFACE_VERSION; }

FASTLANCZOS_API int fastlanczos_create(int64_t n, int64_t max_steps, int basis, fastlanczos_run** run) {
    using namespace fastlanczos::c_interface;
    return guarded(nullptr, [&] {
        demand(run != nullptr, "run is NULL");
        *run = nullptr;
        demand(n >= 1 && max_steps >= 1, "n and max_steps must be at least 1");
        demand(basis == FASTLANCZOS_NO_BASIS || basis == FASTLANCZOS_FLOAT32 || basis == FASTLANCZOS_FLOAT64,
               "basis must be FASTLANCZOS_NO_BASIS, FASTLANCZOS_FLOAT32 or FASTLANCZOS_FLOAT64");
        *run = new fastlanczos_run(n, max_steps, basis);
        return static_cast<int>(FASTLANCZOS_RUNNING);
    });
}

FASTLANCZOS_API void fastlanczos_free(fastlanczos_run* run) { delete run; }

FASTLANCZOS_API int fastlanczos_start(fastlanczos_run* run, const double* v0) {
    using namespace fastlanczos::c_interface;
    return guarded(run, [&] {
        demand(run != nullptr, "run is NULL");
        demand(v0 != nullptr, "v0 is NULL");
        demand(run->lanczos->start(v0), "v0 is zero, or has entries that are NaN or infinite");
        run->begun = true;
        return static_cast<int>(FASTLANCZOS_RUNNING);
    });
}

FASTLANCZOS_API double* fastlanczos_vector(fastlanczos_run* run) { return run ? run->vector.data() : nullptr; }

FASTLANCZOS_API int fastlanczos_step(fastlanczos_run* run, const double* product) {
    using namespace fastlanczos::c_interface;
    return guarded(run, [&] {
        demand_begun(run);
        demand(product != nullptr, "product is NULL");
        return step(run, product);
    });
}

FASTLANCZOS_API int fastlanczos_advance(fastlanczos_run* run, int64_t steps, fastlanczos_matvec matvec, void* data) {
    using namespace fastlanczos::c_interface;
    return guarded(run, [&] {
        demand_begun(run);
        demand(matvec != nullptr, "matvec is NULL");
        int code = code_of(run);
        for (int64_t k = 0; k < steps && code == FASTLANCZOS_RUNNING; ++k) {
            if (matvec(run->dim, run->vector.data(), run->product.data(), data) != 0) {
                run->message = "matvec stopped in step " + std::to_string(run->lanczos->state().steps + 1);
                return static_cast<int>(FASTLANCZOS_STOPPED);
            }
            code = step(run, run->product.data());
        }
        return code;
    });
}

FASTLANCZOS_API int64_t fastlanczos_steps(const fastlanczos_run* run) {
    return run && run->begun ? run->lanczos->state().steps : 0;
}

FASTLANCZOS_API int fastlanczos_result(const fastlanczos_run* run, double* alpha, double* beta, double* residual_norm) {
    using namespace fastlanczos::c_interface;
    return guarded(run, [&] {
        demand_begun(run);
        const int64_t k = run->lanczos->state().steps;
        for (int64_t i = 0; alpha && i < k; ++i) alpha[i] = run->lanczos->alpha(i);
        for (int64_t i = 0; beta && i + 1 < k; ++i) beta[i] = run->lanczos->beta(i);
        if (residual_norm) *residual_norm = run->lanczos->residual_norm();
        return code_of(run);
    });
}

FASTLANCZOS_API int fastlanczos_row(fastlanczos_run* run, int64_t i, double* row) {
    using namespace fastlanczos::c_interface;
    return guarded(run, [&] {
        demand_begun(run);
        demand(row != nullptr, "row is NULL");
        demand(run->rows_in != FASTLANCZOS_NO_BASIS, "the run keeps no basis");
        demand(i >= 0 && i < run->lanczos->state().steps, "there is no such row: i counts from 0 to the steps less 1");
        for (int64_t j = 0; j < run->dim; ++j)
            row[j] = run->basis32 ? static_cast<double>(run->basis32[run->size(i * run->dim + j)])
                                  : run->basis64[run->size(i * run->dim + j)];
        return static_cast<int>(FASTLANCZOS_RUNNING);
    });
}

FASTLANCZOS_API int fastlanczos_quadrature(int64_t m, const double* alpha, const double* beta, double* nodes,
                                           double* weights) {
    using namespace fastlanczos::c_interface;
    return guarded(nullptr, [&] {
        demand(m >= 1, "m must be at least 1");
        demand(alpha != nullptr && (beta != nullptr || m == 1) && nodes != nullptr && weights != nullptr,
               "alpha, beta, nodes or weights is NULL");
        if (fastlanczos::gauss_quadrature(1, m, alpha, beta, nodes, weights) == 0)
            return static_cast<int>(FASTLANCZOS_COMPLETE);
        without_run() = "alpha or beta has entries that are NaN or infinite";
        return static_cast<int>(FASTLANCZOS_NOT_FINITE);
    });
}

FASTLANCZOS_API const char* fastlanczos_message(const fastlanczos_run* run) {
    return fastlanczos::c_interface::message_of(run).c_str();
}

}  // extern "C"
