// A Lanczos run that is four arrays and nothing else, for programs whose memory belongs to a compiler (XLA, PyTorch's):
// the basis, the candidate, the recent rows, and an array of numbers with all that is known of the run besides.
#pragma once

#include <algorithm>
#include <utility>

#include "step.hpp"

namespace fastlanczos {
namespace flat {

// The numbers, in this order; then alpha (m), beta (m), h (m).
enum Number : Index { kSteps, kSweeps, kExponent, kBreakdown, kScale, kMaxProjection, kNotFinite, kNumbers };

inline Index entries(Index m) { return kNumbers + 3 * m; }

// `memory` as in step.hpp; `numbers` has entries(m) of them.
struct Run {
    Index n = 0, m = 0;
    Basis basis = Basis::none;
    Memory memory;
    double* numbers = nullptr;
};

inline State unpacked(const Run& run) {
    const double* numbers = run.numbers;
    State state;
    state.steps = static_cast<Index>(numbers[kSteps]);
    state.sweeps = static_cast<Index>(numbers[kSweeps]);
    state.exponent = static_cast<int>(numbers[kExponent]);
    state.breakdown = numbers[kBreakdown] != 0.0;
    state.scale = numbers[kScale];
    state.max_projection = numbers[kMaxProjection];
    const double* alpha = numbers + kNumbers;
    const Index kept = state.breakdown ? 0 : run.basis == Basis::none ? std::min<Index>(state.steps, 2) : state.steps;
    state.alpha.assign(alpha, alpha + state.steps);
    state.beta.assign(alpha + run.m, alpha + run.m + state.steps);
    state.h.assign(alpha + 2 * run.m, alpha + 2 * run.m + kept);
    return state;
}

inline void pack(const State& state, const Run& run) {
    double* numbers = run.numbers;
    numbers[kSteps] = static_cast<double>(state.steps);
    numbers[kSweeps] = static_cast<double>(state.sweeps);
    numbers[kExponent] = state.exponent;
    numbers[kBreakdown] = state.breakdown ? 1.0 : 0.0;
    numbers[kScale] = state.scale;
    numbers[kMaxProjection] = state.max_projection;
    double* alpha = numbers + kNumbers;
    std::copy(state.alpha.begin(), state.alpha.end(), alpha);
    std::copy(state.beta.begin(), state.beta.end(), alpha + run.m);
    std::copy(state.h.begin(), state.h.end(), alpha + 2 * run.m);
}

// Begins from v0. One that is zero or not finite is a breakdown without a step.
inline void begin(const Run& run, const double* v0) {
    std::fill(run.numbers, run.numbers + entries(run.m), 0.0);
    Lanczos lanczos(run.n, run.m, run.basis, run.memory);
    if (!lanczos.start(v0)) run.numbers[kBreakdown] = run.numbers[kNotFinite] = 1.0;
}

// A step with a product. A run that is finished stays as it is; a product that is not finite finishes it.
inline void advance(const Run& run, const double* product) {
    if (run.numbers[kNotFinite] != 0.0) return;
    Lanczos lanczos(run.n, run.m, run.basis, run.memory);
    lanczos.restore(unpacked(run));
    if (lanczos.finished()) return;
    if (lanczos.step(product) == Outcome::not_finite) {
        run.numbers[kNotFinite] = 1.0;
        return;
    }
    lanczos.settle();
    pack(lanczos.state(), run);
}

// out (entries(m)) = the numbers, alpha and beta no longer in units of 2^exponent.
inline void read(const Run& run, double* out) {
    std::copy_n(run.numbers, entries(run.m), out);
    const int exponent = static_cast<int>(run.numbers[kExponent]);
    for (Index j = kNumbers; j < kNumbers + 2 * run.m; ++j) out[j] = std::ldexp(out[j], exponent);
}

}  // namespace flat
}  // namespace fastlanczos
