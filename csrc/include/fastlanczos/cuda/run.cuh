// A Lanczos run in device memory: what is kept from step to step, and where.
//
// All of a run is on the device, its scalars too, so that a step needs no word from the host. The arrays are the
// caller's: the basis, the vectors, and one workspace of doubles that is cut up here.
#pragma once

#include "device.cuh"

namespace fastlanczos::cuda {

enum class Basis : int { none, float32, float64 };

// Values as fastlanczos::Outcome has them in step.hpp.
enum class Status : int { running, complete, breakdown, not_finite };

// Kept from step to step. Powers of two as in step.hpp: alpha, beta, scale, max_projection, b and h_c are in units of
// 2^exponent.
struct Scalars {
    Index steps = 0, sweeps = 0;
    int exponent = 0;
    Status status = Status::running;
    double scale = 0.0, max_projection = 0.0;
    // What h is to the next step: nu^2 = 1 - h.h, b = beta_{k-1} nu, b h_{k-1} (s.h after a restart), and h.T h.
    double nu2 = 1.0, b = 0.0, b_h = 0.0, h_c = 0.0;
    Index combined = 0;  // rows that the last restart left, see restart.cuh
    // Of the step in progress: written by the sweep's first chunk and by judge().
    double alpha = 0.0, change = 1.0, inverse_beta = 0.0;
    int new_exponent = 0, taken = 0, again = 0;
    double not_finite = 0.0;  // entries of the product that stopped the run
};

// What a pass over u and z brings to light. The dot product is taken in three units, so that it survives whatever
// power of two then comes out of z.
struct Inspection {
    double dot, dot_of_large, dot_of_small, largest, not_finite;  // the last one a count of entries
};

constexpr int kUnitExponent = 600;

// One run as a kernel sees it. `basis`: rows of `stride` entries, a multiple of 16 bytes. `recent`: 2 rows of float64
// for float32 rows, 1 for none. `told`: two words that the host can see, the run's status and its
// finished steps. `vector` may be null, where nobody writes into what is multiplied.
struct Run {
    Index dim, whole_dim, max_steps, stride;  // whole_dim: of all ranks together, where columns are shared out
    const double* z;
    void* basis;
    double *candidate, *recent, *vector;
    Scalars* scalars;
    double *alpha, *beta, *h;    // (max_steps)
    double* coupling;            // (max_steps), row `combined` of T beside its diagonal
    Pair<double>* coefficients;  // (max_steps + 1) of every row in v_k and in w; see step.hpp
    double* dots;                // (max_steps + 3)
    Inspection* inspections;     // (blocks)
    double* partial;             // (max_steps + 3, blocks)
    volatile int* told;

    // Rows in float64 begin at 16 bytes too.
    __host__ __device__ Index recent_stride() const { return dim + dim % 2; }
};

constexpr int kMaxRuns = 16;  // that one launch takes: its parameters are limited to 4 KB

struct Batch {
    int count = 0;
    int blocks = 0;          // that a run is cut into, whatever else is in the batch
    int stages = 2;          // tiles in shared memory, at most; beyond 2 a ring of them
    Index shared_bytes = 0;  // of a block
    Run runs[kMaxRuns];
};

// Doubles of workspace for a run.
inline Index workspace_entries(Index max_steps, int blocks, Basis basis) {
    const Index rows = (basis == Basis::none ? 1 : max_steps) + 3;
    return static_cast<Index>(sizeof(Scalars) / 8 + 2) + 4 * (max_steps + 3) + 2 * rows + rows +
           static_cast<Index>(sizeof(Inspection) / 8) * blocks + rows * blocks;
}

inline void cut_workspace(double* workspace, Index max_steps, int blocks, Basis basis, Run& run) {
    const Index rows = (basis == Basis::none ? 1 : max_steps) + 3;
    run.coefficients = reinterpret_cast<Pair<double>*>(workspace);  // first: the workspace is aligned
    double* next = workspace + 2 * rows;
    run.scalars = reinterpret_cast<Scalars*>(next);
    next += sizeof(Scalars) / 8 + 2;
    for (double** scalars : {&run.alpha, &run.beta, &run.h, &run.coupling}) {
        *scalars = next;
        next += max_steps + 3;
    }
    run.dots = next;
    next += rows;
    run.inspections = reinterpret_cast<Inspection*>(next);
    next += static_cast<Index>(sizeof(Inspection) / 8) * blocks;
    run.partial = next;
}

}  // namespace fastlanczos::cuda
