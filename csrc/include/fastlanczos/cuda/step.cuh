// The step of ../step.hpp as one launch on a GPU, for up to kMaxRuns runs that take it together.
//
// Phases, with a barrier of the whole grid between two of them:
//     inspect    u.z and the largest entry of z                                     reads u, z
//     sweep      scalars, then v_k, w and their dot products; see sweep.cuh         reads V, u, z; writes v_k, w
//     total      the blocks' parts of each dot product, in their order              a warp for each
//     judge      the new row of T, breakdown, and what the next step needs          one block for each run
//     ...        sweep, total and judge again where the candidate needs another correction (hardly ever)
//     normalize  u = w / beta                                                       reads w, writes u and its copy
// All scalars stay on the device, and a launch has the same parameters in every step: nothing waits for the host, and a
// step can be captured in a CUDA graph. Once a run has ended, launches do nothing. Where the device refuses cooperative
// launches each phase is a launch of its own.
//
// Memory traffic of step k: k rows of V once (while a tile of them fits in shared memory), one row written; u read
// three times and written twice (and its copy once), z read twice.
//
// Deterministic: a run is cut into as many chunks as the device has blocks, whatever else is in the batch; each is
// summed by one block in a fixed order, and there are no atomic operations.
#pragma once

#include <cfloat>

#include "ring.cuh"

namespace fastlanczos::cuda {

constexpr double kRoundingLevel = 32.0 * DBL_EPSILON;  // as in step.hpp
constexpr double kUnsafeFloat32 = 1e-6, kUnsafeFloat64 = 0.5;
constexpr int kMaxCorrections = 3;
constexpr Index kInspected = 1024;  // columns of a tile of inspect and normalize

constexpr int kPhases = 2 + 3 * (1 + kMaxCorrections);

namespace detail {

__device__ __forceinline__ Index first_inspected(const Run& run, Index chunk, Index chunks) {
    const Index tiles = (run.dim + kInspected - 1) / kInspected;
    const Index column = chunk * tiles / chunks * kInspected;
    return column < run.dim ? column : run.dim;
}

// Calls work(run, chunk) for all chunks of all runs, shared among the blocks.
template <class Work>
__device__ void for_each_chunk(const Batch& batch, Index chunks, const Work& work) {
    for (Index i = blockIdx.x; i < batch.count * chunks; i += gridDim.x) work(batch.runs[i / chunks], i % chunks);
}

__device__ __noinline__ inline void inspect(const Batch& batch, double* room) {
    const Index chunks = chunks_of(batch.runs[0].dim, kInspected, batch.blocks);
    for_each_chunk(batch, chunks, [&](const Run& run, Index chunk) {
        if (load(&run.scalars->status) != Status::running) return;
        const int exponent = load(&run.scalars->exponent);
        const double factor = ldexp(1.0, -exponent), up = ldexp(1.0, kUnitExponent), down = ldexp(1.0, -kUnitExponent);
        double dot = 0.0, of_large = 0.0, of_small = 0.0, largest = 0.0, not_finite = 0.0;
        const Index end = first_inspected(run, chunk + 1, chunks);
#pragma unroll 4
        for (Index i = first_inspected(run, chunk, chunks) + threadIdx.x; i < end; i += blockDim.x) {
            const double u = load(run.candidate + i), z = load(run.z + i);
            dot += u * (factor * z);
            of_large += u * (down * z);
            of_small += u * (up * z);
            const double magnitude = fabs(z);
            if (magnitude > largest) largest = magnitude;
            if (!(magnitude <= DBL_MAX)) not_finite += 1.0;
        }
        Inspection sums;
        sums.dot = reduce_block(dot, room);
        sums.dot_of_large = reduce_block(of_large, room);
        sums.dot_of_small = reduce_block(of_small, room);
        sums.largest = reduce_block(largest, room, Largest());
        sums.not_finite = reduce_block(not_finite, room);
        if (threadIdx.x == 0) store(run.inspections + chunk, sums);
    });
}

// What a step finds out before its sweep. The same in every block.
struct Prologue {
    double dot = 0.0, change = 1.0, not_finite = 0.0;
    int exponent = 0;
};

__device__ __noinline__ inline Prologue prologue(const Run& run, int blocks, double* room) {
    const Index chunks = chunks_of(run.dim, kInspected, blocks);
    double dot = 0.0, of_large = 0.0, of_small = 0.0, largest = 0.0, not_finite = 0.0;
    for (Index chunk = threadIdx.x; chunk < chunks; chunk += blockDim.x) {
        const Inspection part = load(run.inspections + chunk);
        dot += part.dot;
        of_large += part.dot_of_large;
        of_small += part.dot_of_small;
        largest = part.largest > largest ? part.largest : largest;
        not_finite += part.not_finite;
    }
    Prologue result;
    result.dot = reduce_block(dot, room);
    of_large = reduce_block(of_large, room);
    of_small = reduce_block(of_small, room);
    largest = reduce_block(largest, room, Largest());
    result.not_finite = reduce_block(not_finite, room);
    const int old = load(&run.scalars->exponent);
    result.exponent = old;
    if (result.not_finite > 0.0 || largest == 0.0) return result;
    // A power of two out of products whose squares would not be safe.
    const int exponent = ilogb(largest) < -1000 ? -1000 : ilogb(largest) > 1000 ? 1000 : ilogb(largest);
    const int above = exponent - old;
    if (above <= 100 && (load(&run.scalars->steps) > 0 || above >= -100)) return result;
    result.exponent = exponent;
    result.change = ldexp(1.0, -above);
    result.dot = exponent > 0 ? ldexp(of_large, kUnitExponent - exponent) : ldexp(of_small, -kUnitExponent - exponent);
    return result;
}

template <Basis basis, class Value>
__device__ void sweep(const Batch& batch, int round, unsigned char* shared) {
    auto* room = reinterpret_cast<double*>(shared);
    const auto rows_now = [](const Run& run) {
        const Index steps = load(&run.scalars->steps);
        return basis == Basis::none && steps > 1 ? Index{1} : steps;
    };
    const auto tile_of = [&](const Run& run) {
        return choose_tile(rows_of<Value>(run, basis, rows_now(run)).stored, sizeof(Value),
                           static_cast<int>(blockDim.x), batch.shared_bytes, batch.stages);
    };
    for_each_chunk(batch, batch.blocks, [&](const Run& run, Index chunk) {
        Scalars* s = run.scalars;
        if (round == 0 && load(&s->status) != Status::running) {
            if (chunk == 0 && threadIdx.x == 0) store(&s->taken, 0);
            return;
        }
        if (round > 0 && load(&s->again) == 0) return;
        const Tile tile = tile_of(run);
        const Index chunks = chunks_of(run.dim, tile.width, batch.blocks);
        Update update{run.candidate, 0.0, 1.0, 1.0, 0.0, false};
        if (round == 0) {
            const Prologue start = prologue(run, batch.blocks, room);
            const double nu2 = load(&s->nu2), nu = sqrt(nu2), b_h = start.change * load(&s->b_h);
            const double alpha = (start.dot - 2.0 * nu * b_h - start.change * load(&s->h_c)) / nu2;
            update = {run.z, 1.0 / nu, ldexp(1.0, -start.exponent) / nu, start.change, alpha + b_h / nu, true};
            if (chunk == 0 && threadIdx.x == 0) {
                store(&s->alpha, alpha);
                store(&s->change, start.change);
                store(&s->new_exponent, start.exponent);
                store(&s->not_finite, start.not_finite);
                store(&s->taken, start.not_finite > 0.0 ? -1 : 1);
            }
            if (start.not_finite > 0.0) return;
        }
        if (chunk >= chunks) return;
        const auto rows = rows_of<Value>(run, basis, rows_now(run));
        if (tile.stages > 2)
            sweep_ring(run, basis, rows, tile, update, chunk, chunks, batch.blocks, shared);
        else
            sweep_chunk(run, basis, rows, tile, update, chunk, chunks, batch.blocks, shared);
    });
}

// Whether a run takes part in the sweep of this round.
__device__ __forceinline__ bool takes_part(const Run& run, int round) {
    return load(&run.scalars->taken) == 1 && (round == 0 || load(&run.scalars->again) != 0);
}

template <Basis basis, class Value>
__device__ void total(const Batch& batch, int round) {
    const Index warps = warps_of_block();
    for (int r = 0; r < batch.count; ++r) {
        const Run& run = batch.runs[r];
        if (!takes_part(run, round)) continue;
        const Index steps = load(&run.scalars->steps);
        const Index rows = basis == Basis::none && steps > 1 ? 1 : steps;
        const Tile tile = choose_tile(rows_of<Value>(run, basis, rows).stored, sizeof(Value),
                                      static_cast<int>(blockDim.x), batch.shared_bytes, batch.stages);
        const Index chunks = chunks_of(run.dim, tile.width, batch.blocks);
        for (Index j = blockIdx.x * warps + warp_of_thread(); j < rows + 2; j += gridDim.x * warps) {
            double sum = 0.0;
            for (Index chunk = lane_of_thread(); chunk < chunks; chunk += kWarp)
                sum += load(run.partial + j * batch.blocks + chunk);
            sum = reduce_warp(sum);
            if (lane_of_thread() == 0) store(run.dots + j, sum);
        }
    }
}

// Every thread's sum over j < count of term(j); all threads of the block take part.
template <class Term>
__device__ double sum_over(Index count, double* room, const Term& term) {
    double sum = 0.0;
    for (Index j = threadIdx.x; j < count; j += blockDim.x) sum += term(j);
    return reduce_block(sum, room);
}

// h of the next step from the dot products of the candidate, whose norm is `norm`, with `projected` rows; returns h.h.
__device__ inline double take_h(const Run& run, Index projected, double norm, double* room) {
    // Whoever stores h_j reads it here; the barriers in sum_over() show it to all.
    for (Index j = threadIdx.x; j < projected; j += blockDim.x) store(run.h + j, load(run.dots + j) / norm);
    return sum_over(projected, room, [&](Index j) {
        const double h = load(run.h + j);
        return h * h;
    });
}

// What the next sweep subtracts after k steps, `square` being h.h and `norm` the new beta: v = u - V^T h and
// w = z / nu - V^T (c / nu + b e_last), or, where a restart has left all rows, w = z / nu - V^T (c / nu + s). See
// prepare_sweep() in step.hpp. All threads of one block take part.
__device__ __noinline__ inline void prepare_next(const Run& run, Index k, double square, double norm, double* room) {
    Scalars* s = run.scalars;
    const Index l = load(&s->combined);
    const double nu2 = 1.0 - square, nu = sqrt(nu2), b = norm * nu;
    double coupling_h = 0.0;
    if (l > 0) {
        // Right after a restart h is at rounding level, and so is what nu and s.h do there; later s.h counts in c.
        if (k == l)
            for (Index j = threadIdx.x; j < l; j += blockDim.x) store(run.coupling + j, nu * load(run.coupling + j));
        coupling_h = sum_over(l, room, [&](Index j) { return load(run.coupling + j) * load(run.h + j); });
    }
    const double h_c = sum_over(k, room, [&](Index j) {
        const double h = load(run.h + j);
        double c = load(run.alpha + j) * h, further = j + 1 == k ? b : 0.0;
        if (j > 0) c += load(run.beta + j - 1) * load(run.h + j - 1);
        if (j + 1 < k) c += load(run.beta + j) * load(run.h + j + 1);
        if (j < l) {
            if (k > l)
                c += load(run.coupling + j) * load(run.h + l);
            else
                further += load(run.coupling + j);
        }
        if (l > 0 && j == l) c += coupling_h;
        store(run.coefficients + j, Pair<double>{h, c / nu + further});
        return h * c;
    });
    if (threadIdx.x > 0) return;
    store(&s->nu2, nu2);
    store(&s->b, b);
    store(&s->b_h, (k > 0 ? b * load(run.h + k - 1) : 0.0) + (k == l ? coupling_h : 0.0));
    store(&s->h_c, h_c);
}

// Everything that one step adds to a run, by one block; see take_dots(), take_correction() and judge() in step.hpp.
template <Basis basis>
__device__ __noinline__ void judge_run(const Run& run, int round, double* room) {
    Scalars* s = run.scalars;
    const bool leader = threadIdx.x == 0;
    if (round == 0 && load(&s->taken) == -1) {
        if (leader) {
            store(&s->status, Status::not_finite);
            run.told[0] = static_cast<int>(Status::not_finite);
        }
        return;
    }
    if (!takes_part(run, round)) return;

    const Index before = load(&s->steps);
    const Index rows = basis == Basis::none && before > 1 ? 1 : before;  // that were swept
    const double norm = sqrt(load(run.dots + rows + 1));
    double scale = load(&s->scale);
    Index k = before;        // finished rows
    Index projected = rows;  // that w now has dot products with
    __syncthreads();         // everyone has read what the leader writes
    if (round == 0) {
        const double change = load(&s->change), b = change * load(&s->b), alpha = load(&s->alpha);
        const double new_alpha = alpha + load(run.dots + rows);
        double expected = 0.0;
        if (basis == Basis::none && k > 0) {
            const double further = k > 1 ? change * load(run.beta + k - 2) * load(run.h) : 0.0;
            const double last_h = load(run.h + (k > 1 ? 1 : 0));
            expected = (change * load(run.alpha + k - 1) - alpha) * last_h + further;
        }
        double projection = 0.0;
        for (Index j = threadIdx.x; j < rows; j += blockDim.x) {
            const double x = fabs(load(run.dots + j) - expected);
            if (x > projection) projection = x;
        }
        projection = reduce_block(projection, room, Largest());
        const double most = change * load(&s->max_projection);
        const Index l = load(&s->combined);
        double row = fabs(new_alpha) + b + norm;
        if (l > 0) {
            for (Index j = threadIdx.x; j < l; j += blockDim.x)
                store(run.coupling + j, change * load(run.coupling + j));
            if (k == l) row += sum_over(l, room, [&](Index j) { return fabs(load(run.coupling + j)); });
        }
        scale = fmax(change * scale, row);
        __syncthreads();
        for (Index j = threadIdx.x; j < k; j += blockDim.x) {
            store(run.alpha + j, change * load(run.alpha + j));
            store(run.beta + j, j + 1 == k ? b : change * load(run.beta + j));
        }
        if (leader) {
            store(run.alpha + k, new_alpha);
            store(&s->scale, scale);
            store(&s->max_projection, projection > most ? projection : most);
            store(&s->exponent, load(&s->new_exponent));
            store(&s->steps, k + 1);
        }
        ++k;
        projected = rows + 1;
    }

    // Breakdown, another correction, or h of the next step.
    bool breakdown = norm <= kRoundingLevel * scale || k == run.whole_dim, again = false;
    double square = 0.0;
    if (!breakdown) {
        square = take_h(run, projected, norm, room);  // its barriers show the new alpha to all
        const double unsafe = basis == Basis::float32 ? kUnsafeFloat32 : kUnsafeFloat64;
        if (basis != Basis::none && !(square <= unsafe)) {
            again = round < kMaxCorrections;
            breakdown = !again;  // three corrections left nothing that is orthogonal to the basis
        }
    }

    // What the next sweep subtracts; to correct the candidate again, w = u - V^T (V u).
    if (again) {
        for (Index j = threadIdx.x; j < projected; j += blockDim.x)
            store(run.coefficients + j, Pair<double>{0.0, load(run.dots + j)});
    } else if (!breakdown && basis == Basis::none) {
        if (leader) store(run.coefficients, Pair<double>{0.0, norm});
    } else if (!breakdown) {
        prepare_next(run, k, square, norm, room);
    }
    if (!leader) return;
    store(run.beta + k - 1, norm);
    store(&s->sweeps, load(&s->sweeps) + 1);
    store(&s->again, again ? 1 : 0);
    if (again || breakdown || basis == Basis::none) {
        store(&s->nu2, 1.0);
        store(&s->b, norm);
        store(&s->b_h, 0.0);
        store(&s->h_c, 0.0);
    }
    store(&s->inverse_beta, breakdown ? 0.0 : 1.0 / norm);
    if (again) return;
    const Status status = breakdown ? Status::breakdown : k == run.max_steps ? Status::complete : Status::running;
    store(&s->status, status);
    run.told[1] = static_cast<int>(k);
    if (status != Status::running) run.told[0] = static_cast<int>(status);
}

template <Basis basis>
__device__ void judge(const Batch& batch, int round, double* room) {
    for (Index r = blockIdx.x; r < batch.count; r += gridDim.x) judge_run<basis>(batch.runs[r], round, room);
}

__device__ inline void normalize(const Batch& batch) {
    const Index chunks = chunks_of(batch.runs[0].dim, kInspected, batch.blocks);
    for_each_chunk(batch, chunks, [&](const Run& run, Index chunk) {
        if (load(&run.scalars->taken) != 1) return;
        const double inverse = load(&run.scalars->inverse_beta);
        const Index end = first_inspected(run, chunk + 1, chunks);
#pragma unroll 4
        for (Index i = first_inspected(run, chunk, chunks) + threadIdx.x; i < end; i += blockDim.x) {
            const double u = inverse * load(run.candidate + i);
            store(run.candidate + i, u);
            if (run.vector) store(run.vector + i, u);
        }
    });
}

}  // namespace detail

// All phases (phase < 0, a cooperative launch), or one of kPhases.
template <Basis basis>
__global__ void __launch_bounds__(kMaxThreads, 1) step_kernel(const __grid_constant__ Batch batch, int phase) {
    using Value = std::conditional_t<basis == Basis::float32, float, double>;
    FASTLANCZOS_SHARED_MEMORY(shared);
    auto* room = reinterpret_cast<double*>(shared);
    if (phase >= 0) {
        const int round = (phase - 1) / 3;
        if (phase == 0)
            detail::inspect(batch, room);
        else if (phase == kPhases - 1)
            detail::normalize(batch);
        else if (phase % 3 == 1)
            detail::sweep<basis, Value>(batch, round, shared);
        else if (phase % 3 == 2)
            detail::total<basis, Value>(batch, round);
        else
            detail::judge<basis>(batch, round, room);
        return;
    }
    detail::inspect(batch, room);
    grid_barrier();
    for (int round = 0; round <= kMaxCorrections; ++round) {
        detail::sweep<basis, Value>(batch, round, shared);
        grid_barrier();
        detail::total<basis, Value>(batch, round);
        grid_barrier();
        detail::judge<basis>(batch, round, room);
        grid_barrier();
        bool again = false;
        for (int r = 0; r < batch.count; ++r)
            again = again || (load(&batch.runs[r].scalars->taken) == 1 && load(&batch.runs[r].scalars->again) != 0);
        if (!again) break;
    }
    detail::normalize(batch);
}

// The kernel for a kind of storage.
inline void (*step_kernel_for(Basis basis))(const Batch, int) {
    return basis == Basis::none      ? &step_kernel<Basis::none>
           : basis == Basis::float32 ? &step_kernel<Basis::float32>
                                     : &step_kernel<Basis::float64>;
}

// One phase of kPhases, for all runs.
inline cudaError_t launch_phase(const Batch& batch, Basis basis, int threads, int phase, cudaStream_t stream) {
    Batch copy = batch;
    void* arguments[] = {&copy, &phase};
    return cudaLaunchKernel(step_kernel_for(basis), dim3(static_cast<unsigned>(batch.blocks)),
                            dim3(static_cast<unsigned>(threads)), arguments,
                            static_cast<std::size_t>(batch.shared_bytes), stream);
}

// One step of all runs, in the stream's order: blocks of `threads` threads, one block a multiprocessor.
inline cudaError_t launch_step(const Batch& batch, Basis basis, int threads, bool cooperative, cudaStream_t stream) {
    const auto kernel = step_kernel_for(basis);
    const dim3 grid(static_cast<unsigned>(batch.blocks)), block(static_cast<unsigned>(threads));
    const auto shared = static_cast<std::size_t>(batch.shared_bytes);
    Batch copy = batch;
    int phase = -1;
    void* arguments[] = {&copy, &phase};
    if (cooperative) {
        const cudaError_t status = cudaLaunchCooperativeKernel(kernel, grid, block, arguments, shared, stream);
        if (status != cudaErrorCooperativeLaunchTooLarge && status != cudaErrorNotSupported) return status;
        (void)cudaGetLastError();  // refused, not failed: phase by phase then
    }
    for (phase = 0; phase < kPhases; ++phase)
        if (const cudaError_t status = launch_phase(batch, basis, threads, phase, stream)) return status;
    return cudaSuccess;
}

}  // namespace fastlanczos::cuda
