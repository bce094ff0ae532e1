// Thick restarts and new candidates on the emulated device, beside the same on the CPU engine.
#pragma once

#include "cases.hpp"
#include "fastlanczos/step.hpp"

namespace {

// Eigenvalues and vectors (rows) of a symmetric matrix, by Jacobi's rotations.
void jacobi(Index n, Vector a, Vector& values, Vector& vectors) {
    const auto at = [n](Index i, Index j) { return static_cast<std::size_t>(i * n + j); };
    vectors.assign(static_cast<std::size_t>(n * n), 0.0);
    for (Index i = 0; i < n; ++i) vectors[at(i, i)] = 1.0;
    for (int sweep = 0; sweep < 30; ++sweep)
        for (Index p = 0; p < n; ++p)
            for (Index q = p + 1; q < n; ++q) {
                if (a[at(p, q)] == 0.0) continue;
                const double angle = 0.5 * std::atan2(2.0 * a[at(p, q)], a[at(q, q)] - a[at(p, p)]);
                const double c = std::cos(angle), s = std::sin(angle);
                for (Index i = 0; i < n; ++i) {
                    const double x = a[at(p, i)], y = a[at(q, i)];
                    a[at(p, i)] = c * x - s * y;
                    a[at(q, i)] = s * x + c * y;
                }
                for (Index i = 0; i < n; ++i) {
                    const double x = a[at(i, p)], y = a[at(i, q)];
                    a[at(i, p)] = c * x - s * y;
                    a[at(i, q)] = s * x + c * y;
                    const double u = vectors[at(p, i)], v = vectors[at(q, i)];
                    vectors[at(p, i)] = c * u - s * v;
                    vectors[at(q, i)] = s * u + c * v;
                }
            }
    values.clear();
    for (Index i = 0; i < n; ++i) values.push_back(a[at(i, i)]);
}

// T of k rows, of which a restart left the first l.
Vector projected(Index k, Index l, const double* alpha, const double* beta, const double* coupling) {
    Vector T(static_cast<std::size_t>(k * k), 0.0);
    const auto set = [&](Index i, Index j, double x) {
        T[static_cast<std::size_t>(i * k + j)] = T[static_cast<std::size_t>(j * k + i)] = x;
    };
    for (Index j = 0; j < k; ++j) set(j, j, alpha[j]);
    for (Index j = 0; j + 1 < k; ++j) set(j, j + 1, beta[j]);
    for (Index j = 0; j < l && l < k; ++j) set(l, j, coupling[j]);
    return T;
}

// A run on the device beside one on the CPU engine, whose basis is in float64 always.
struct SideBySide {
    Case c;
    cuda::Batch batch;
    Vector diagonal, basis, candidate;
    DeviceRun run;
    fastlanczos::Lanczos host;

    SideBySide(const Case& given, Vector operator_, const Vector& v0)
        : c(given),
          batch(device_for(given)),
          diagonal(std::move(operator_)),
          basis(static_cast<std::size_t>(c.steps * c.dim)),
          candidate(v0.size()),
          run(c, diagonal, v0),
          host(c.dim, c.steps, fastlanczos::Basis::float64, {basis.data(), c.dim, candidate.data(), nullptr}) {
        batch.runs[0] = run.run;
        host.start(v0.data());
    }

    // To the end of both.
    void advance() {
        while (!host.finished()) {
            Vector z(diagonal.size());
            for (std::size_t i = 0; i < z.size(); ++i) z[i] = diagonal[i] * host.vector()[i];
            host.step(z.data());
            run.multiply();
            cuda::launch_step(batch, c.basis, c.threads, c.cooperative, nullptr);
        }
    }

    // Keeps l Ritz vectors.
    void restart(Index l) {
        const cuda::Scalars& s = *run.run.scalars;
        const Index k = s.steps, padded = (l + cuda::kOutputs - 1) / cuda::kOutputs * cuda::kOutputs;
        Vector values, vectors;
        jacobi(k, projected(k, s.combined, run.run.alpha, run.run.beta, run.run.coupling), values, vectors);
        auto* rotation = on_device<double>(static_cast<std::size_t>(k * padded + 2 * l));
        double *theta = rotation + k * padded, *coupling = theta + l;
        Vector on_host(static_cast<std::size_t>(l * k));
        for (Index i = 0; i < padded; ++i)
            for (Index j = 0; j < k; ++j) {
                const double x = i < l ? vectors[static_cast<std::size_t>(i * k + j)] : 0.0;
                rotation[j * padded + i] = x;
                if (i < l) on_host[static_cast<std::size_t>(i * k + j)] = x;
            }
        const bool goes_on = !host.state().breakdown;
        for (Index i = 0; i < l; ++i) {
            theta[i] = values[static_cast<std::size_t>(i)];
            coupling[i] = goes_on ? host.remainder() * vectors[static_cast<std::size_t>(i * k + k - 1)] : 0.0;
        }
        const Vector theta_host(theta, theta + l), coupling_host(coupling, coupling + l);
        host.restart(l, on_host.data(), theta_host.data(), coupling_host.data(), s.scale, s.exponent);
        const cuda::Restarted to{l, theta, coupling, s.scale, s.exponent, goes_on ? 1 : 0};
        expect(cuda::launch_restart(batch, c.basis, k, rotation, to, c.threads, nullptr) == cudaSuccess,
               "the restart was not launched");
        Device::get().release(rotation);
    }

    void renew(const Vector& v) {
        expect(host.renew(v.data()), "the CPU engine finds no other candidate");
        std::copy(v.begin(), v.end(), run.run.candidate);
        cuda::launch_write(run.run, cuda::Entry::uncoupled, {}, c.threads, nullptr);
        for (int pass = 0; pass < 3; ++pass) {
            cuda::launch_projection(batch, c.basis, c.threads, nullptr);
            if (pass < 2) cuda::launch_write(run.run, cuda::Entry::correction, {}, c.threads, nullptr);
        }
        cuda::launch_next(batch, c.basis, c.threads, nullptr);
    }

    void compare(const std::string& when) {
        const cuda::Scalars& s = *run.run.scalars;
        const fastlanczos::State& state = host.state();
        const double tolerance = c.basis == cuda::Basis::float64 ? 1e-13 : 1e-6;
        const Index k = state.steps;
        expect(s.steps == k && s.combined == state.combined && s.exponent == state.exponent &&
                   (s.status == cuda::Status::breakdown) == state.breakdown,
               c.name() + when + ": steps " + std::to_string(s.steps) + ", not " + std::to_string(k));
        if (s.steps != k || s.combined != state.combined) return;
        Vector ours, theirs, vectors;
        jacobi(k, projected(k, s.combined, run.run.alpha, run.run.beta, run.run.coupling), ours, vectors);
        jacobi(k, projected(k, state.combined, state.alpha.data(), state.beta.data(), state.coupling.data()), theirs,
               vectors);
        std::sort(ours.begin(), ours.end());
        std::sort(theirs.begin(), theirs.end());
        double apart = 0.0, norm = 0.0;
        for (std::size_t i = 0; i < ours.size(); ++i) {
            apart = std::max(apart, std::abs(ours[i] - theirs[i]));
            norm = std::max(norm, std::abs(theirs[i]));
        }
        char text[100];
        std::snprintf(text, sizeof text, ": T's eigenvalues differ by %.1e", apart / norm);
        expect(apart <= tolerance * norm, c.name() + when + text);
        const bool double_rows = c.basis == cuda::Basis::float64;
        expect((double_rows ? run.orthogonality<double>() : run.orthogonality<float>()) <= (double_rows ? 1e-14 : 1e-6),
               c.name() + when + ": the rows are not orthonormal");
        expect(s.max_projection <= tolerance * norm, c.name() + when + ": asymmetry of a symmetric operator");
    }
};

// Restarts from l Ritz vectors, each with more steps after it.
void check_restart(const Case& c, Index l) {
    SideBySide both(c, normal(c.dim, 7), normal(c.dim, 99));
    try {
        both.advance();
        for (int round = 0; round < 2; ++round) {
            both.restart(l);
            both.compare("after a restart");
            both.advance();
            both.compare("some steps after a restart");
        }
    } catch (const emulation::Failure& failure) {
        expect(false, c.name() + failure.what());
    }
}

// An invariant space, its eigenvectors, and another candidate in their complement: second copies.
void check_renewal(const Case& c) {
    Vector diagonal = normal(c.dim, 7);
    for (std::size_t i = 0; i < diagonal.size(); ++i)
        diagonal[i] = 1.0 + static_cast<double>(static_cast<Index>(i) % c.eigenvalues);
    SideBySide both(c, diagonal, normal(c.dim, 99));
    try {
        both.advance();
        expect(both.host.state().breakdown, "the space is not invariant");
        both.restart(c.eigenvalues);
        both.compare("eigenvectors");
        both.renew(normal(c.dim, 5));
        both.advance();
        both.compare("second copies");
        expect(both.run.run.scalars->steps == 2 * c.eigenvalues, c.name() + "second copies are missing");
    } catch (const emulation::Failure& failure) {
        expect(false, c.name() + failure.what());
    }
}

}  // namespace
