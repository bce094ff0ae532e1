// A step of a run whose columns are shared out over ranks: the phases of step.cuh, with two messages between them.
//
//     inspect, pack            u.z and the largest entry of this rank's part of z      -> message
//     take_inspections, sweep, total, pack                                             -> message: the dot products
//     take_dots, judge         every rank the same, to the last bit
//     sweep, total, pack, ...  three more rounds, which do nothing unless the candidate needs another correction
//     normalize
// A message is what a rank packs; the caller's collective, on the same stream, puts those of all ranks one after the
// other. They are added up in the ranks' order. With each goes a flag, by which a rank says that its product has
// failed: the run then ends on all of them. The host waits for none of it, and so cannot know whether a further round
// is needed.
#pragma once

#include "step.cuh"

namespace fastlanczos::cuda {

constexpr int kRankFailed = 4;           // told of a run, beyond the values of Status
constexpr Index kInspectionNumbers = 5;  // of an Inspection

enum class Message : int { inspection, dots };

// Numbers behind the flag in a message about a step that begins with k rows.
inline Index numbers_of(Message what, Basis basis, Index k, int round) {
    if (what == Message::inspection) return kInspectionNumbers;
    const Index rows = basis == Basis::none && k > 1 ? 1 : k;
    return rows + 2 + (round > 0 ? 1 : 0);
}

// out = (failed, numbers ...); one block.
__global__ inline void pack_kernel(const __grid_constant__ Run run, Message what, Index count, int blocks, int failed,
                                   double* out) {
    FASTLANCZOS_SHARED_MEMORY(shared);
    auto* room = reinterpret_cast<double*>(shared);
    if (threadIdx.x == 0) store(out, failed ? 1.0 : 0.0);
    if (what == Message::dots) {
        for (Index j = threadIdx.x; j < count; j += blockDim.x) store(out + 1 + j, failed ? 0.0 : load(run.dots + j));
        return;
    }
    const Index chunks = chunks_of(run.dim, kInspected, blocks);
    double sums[kInspectionNumbers] = {};
    // Of a run that has ended nobody has looked at the product.
    if (!failed && load(&run.scalars->status) == Status::running)
        for (Index chunk = threadIdx.x; chunk < chunks; chunk += blockDim.x) {
            const Inspection part = load(run.inspections + chunk);
            sums[0] += part.dot;
            sums[1] += part.dot_of_large;
            sums[2] += part.dot_of_small;
            sums[3] = part.largest > sums[3] ? part.largest : sums[3];
            sums[4] += part.not_finite;
        }
    for (int i = 0; i < kInspectionNumbers; ++i) {
        const double sum = i == 3 ? reduce_block(sums[i], room, Largest()) : reduce_block(sums[i], room);
        if (threadIdx.x == 0) store(out + 1 + i, sum);
    }
}

// What all ranks have packed, one after the other, in the place of what this one had; one block.
__global__ inline void take_kernel(const __grid_constant__ Run run, Message what, Index count, int blocks, Index ranks,
                                   const double* all) {
    if (what == Message::dots) {
        for (Index j = threadIdx.x; j < count; j += blockDim.x) {
            double sum = 0.0;
            for (Index rank = 0; rank < ranks; ++rank) sum += load(all + rank * (count + 1) + 1 + j);
            store(run.dots + j, sum);
        }
        return;
    }
    const Index chunks = chunks_of(run.dim, kInspected, blocks);
    for (Index chunk = threadIdx.x + 1; chunk < chunks; chunk += blockDim.x)
        store(run.inspections + chunk, Inspection{0.0, 0.0, 0.0, 0.0, 0.0});
    if (threadIdx.x > 0) return;
    Inspection sums{0.0, 0.0, 0.0, 0.0, 0.0};
    bool failed = false;
    for (Index rank = 0; rank < ranks; ++rank) {
        const double* theirs = all + rank * (count + 1);
        failed = failed || load(theirs) != 0.0;
        sums.dot += load(theirs + 1);
        sums.dot_of_large += load(theirs + 2);
        sums.dot_of_small += load(theirs + 3);
        const double largest = load(theirs + 4);
        sums.largest = largest > sums.largest ? largest : sums.largest;
        sums.not_finite += load(theirs + 5);
    }
    store(run.inspections, sums);
    if (!failed) return;
    store(&run.scalars->status, Status::complete);  // the steps so far are all there will be
    run.told[0] = kRankFailed;
}

template <class Kernel, class... Arguments>
cudaError_t launch_alone(Kernel kernel, int threads, cudaStream_t stream, Arguments... given) {
    void* arguments[] = {&given...};
    return cudaLaunchKernel(kernel, dim3(1), dim3(static_cast<unsigned>(threads)), arguments, std::size_t{8 * kWarp},
                            stream);
}

inline cudaError_t launch_pack(const Run& run, Message what, Index count, int blocks, bool failed, double* out,
                               int threads, cudaStream_t stream) {
    return launch_alone(&pack_kernel, threads, stream, run, what, count, blocks, failed ? 1 : 0, out);
}

inline cudaError_t launch_take(const Run& run, Message what, Index count, int blocks, Index ranks, const double* all,
                               int threads, cudaStream_t stream) {
    return launch_alone(&take_kernel, threads, stream, run, what, count, blocks, ranks, all);
}

}  // namespace fastlanczos::cuda
