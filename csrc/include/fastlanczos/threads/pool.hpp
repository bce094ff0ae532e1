// The engine's own threads: parallel_for over chunks, without OpenMP and without a library to link beside it.
//
// A Lanczos run alternates between its own passes and the caller's products, and those have thread pools of their own
// (BLAS, torch). Two things follow for the pool here:
//   - A thread with nothing to do looks out for work for kPatience and then sleeps. So the passes of one step, and
//     steps with short products between them, find the threads awake; a long product has the processor to itself.
//   - Nobody waits for a thread that has not begun. The calling thread works through all chunks, whoever else is awake
//     takes some off it, and only chunks that somebody has begun are waited for. Where another pool's threads still
//     spin on a core, that core's share is done elsewhere.
// Which thread takes a chunk leaves no trace in a result: see tiling.hpp.
//
// Each thread begins with a range of its own, the same one in every pass over equally many chunks, so that data stays
// near the core (and memory bank) that used it last; then it takes over what others have not begun.
//
// Callers take turns (turns.hpp); a parallel_for within a chunk is done by the thread that meets it.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <system_error>
#include <thread>

#include "../kernels/dispatch.hpp"
#include "interrupt.hpp"
#include "num_threads.hpp"
#include "turns.hpp"

#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#endif

namespace fastlanczos {

namespace detail {

inline void relax() {
#if defined(FASTLANCZOS_X86)
    __builtin_ia32_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
    asm volatile("yield");
#endif
}

#if defined(_WIN32)
struct SignalsBlocked {};
#else
// What is created meanwhile inherits the mask.
struct SignalsBlocked {
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    sigset_t before;
};
#endif

class Pool {
public:
    static constexpr int kMaxThreads = 256;
    static constexpr Index kMaxChunks = Index{1} << 24;

    // The process's pool. A forked child starts with none of its parent's threads, and so with a pool of its own. Never
    // destroyed: its threads may outlive main().
    static Pool& shared() {
        Pool* pool = instance().load(std::memory_order_acquire);
        if (pool) return *pool;
        static std::mutex* making = new std::mutex;
#if !defined(_WIN32)
        static const int registered = pthread_atfork(nullptr, nullptr, [] { instance().store(nullptr); });
        (void)registered;
#endif
        std::lock_guard<std::mutex> lock(*making);
        pool = instance().load(std::memory_order_acquire);
        if (!pool) instance().store(pool = new Pool, std::memory_order_release);
        return *pool;
    }

    // work(context, chunk) for every chunk, on this thread and up to `threads - 1` others.
    void run(int threads, Index chunks, void (*work)(void*, Index), void* context, Interrupt* interrupt) {
        threads = static_cast<int>(std::min<Index>({threads, chunks, kMaxThreads}));
        if (threads > 1 && chunks < kMaxChunks && !within_a_chunk()) {
            if (turns_.begin(threads)) {
                hire(threads - 1);
                publish(std::min(threads, hired_ + 1), chunks, {work, context, interrupt});
                within_a_chunk() = true;
                const Index mine = labour(0);
                within_a_chunk() = false;
                wait_for(chunks - mine);
                turns_.end();
                return;
            }
            work_alone(chunks, work, context, interrupt);
            turns_.end_alone();
            return;
        }
        work_alone(chunks, work, context, interrupt);
    }

    void leave() { turns_.leave(); }

private:
    static void work_alone(Index chunks, void (*work)(void*, Index), void* context, Interrupt* interrupt) {
        for (Index chunk = 0; chunk < chunks; ++chunk) {
            if (interrupt) {
                interrupt->check();
                if (interrupt->requested()) return;
            }
            work(context, chunk);
        }
    }

    static bool& within_a_chunk() {
        static thread_local bool within = false;
        return within;
    }

    using Clock = std::chrono::steady_clock;
    // Waking a sleeper takes 5 to 50 microseconds, so it is worth looking out for about as long.
    static constexpr std::chrono::microseconds kPatience{50};

    struct Job {
        void (*work)(void*, Index) = nullptr;
        void* context = nullptr;
        Interrupt* interrupt = nullptr;
    };

    // What is left of one thread's range, in one word so that a claim names the pass it is good for: the chunks of the
    // range begin at `first`, there are `size` of them, and `taken` have been claimed (or asked for in vain).
    struct alignas(64) Range {
        std::atomic<std::uint64_t> word{0};  // size in the upper half, taken in the lower
        std::atomic<Index> first{0};
    };

    static std::atomic<Pool*>& instance() {
        static std::atomic<Pool*> pool{nullptr};
        return pool;
    }

    void hire(int wanted) {
        if (hired_ >= wanted) return;
        [[maybe_unused]] const SignalsBlocked blocked;  // signals are for the program's own threads
        while (hired_ < wanted) {
            try {
                std::thread([this, rank = hired_ + 1] { work_forever(rank); }).detach();
            } catch (const std::system_error&) {
                return;  // the system gives no more: fewer do the same work
            }
            ++hired_;
        }
    }

    void publish(int team, Index chunks, Job job) {
        job_ = job;
        done_.store(0, std::memory_order_relaxed);
        team_.store(team, std::memory_order_relaxed);
        for (int rank = 0; rank < team; ++rank) {
            const Index first = rank * chunks / team, end = (rank + 1) * chunks / team;
            ranges_[rank].first.store(first, std::memory_order_relaxed);
            ranges_[rank].word.store(static_cast<std::uint64_t>(end - first) << 32, std::memory_order_release);
        }
        pass_.fetch_add(1);  // sequentially consistent, as is the count of sleepers: one of the two sees the other
        if (sleepers_.load() > 0) {
            {
                std::lock_guard<std::mutex> lock(mutex_);
            }
            wake_.notify_all();
        }
    }

    // Works while there are chunks, of its own range first. Returns how many it did. What `job_` and `first` hold is
    // only looked at with a claim in hand: until that chunk is done, the pass cannot end and nothing is changed.
    Index labour(int rank) {
        Index count = 0;
        const int team = team_.load(std::memory_order_relaxed);
        for (int next = 0; next < team; ++next) {
            Range& range = ranges_[(rank + next) % team];
            for (;;) {
                if (range_is_empty(range.word.load(std::memory_order_relaxed))) break;
                const std::uint64_t claim = range.word.fetch_add(1, std::memory_order_acq_rel);
                if (range_is_empty(claim)) break;
                const Index chunk = range.first.load(std::memory_order_relaxed) + static_cast<Index>(claim & kTaken);
                Interrupt* interrupt = job_.interrupt;
                if (interrupt && rank == 0) interrupt->check();
                if (!interrupt || !interrupt->requested()) job_.work(job_.context, chunk);
                ++count;
                if (rank != 0) done_.fetch_add(1, std::memory_order_release);
            }
        }
        return count;
    }

    static constexpr std::uint64_t kTaken = 0xffffffff;
    static bool range_is_empty(std::uint64_t word) { return (word & kTaken) >= (word >> 32); }

    void wait_for(Index others) {
        const auto began = Clock::now();
        for (int looks = 1; done_.load(std::memory_order_acquire) != others; ++looks) {
            relax();
            if (looks % 64 == 0 && Clock::now() - began > kPatience) std::this_thread::yield();
        }
    }

    void work_forever(int rank) {
        within_a_chunk() = true;
        std::uint64_t seen = 0;
        for (;;) {
            seen = next_pass(seen);
            if (rank < team_.load(std::memory_order_relaxed)) labour(rank);
        }
    }

    // Returns the number of a pass after `seen`, as soon as there is one.
    std::uint64_t next_pass(std::uint64_t seen) {
        const auto began = Clock::now();
        for (int looks = 1;; ++looks) {
            const std::uint64_t pass = pass_.load(std::memory_order_acquire);
            if (pass != seen) return pass;
            relax();
            if (looks % 64 == 0 && Clock::now() - began > kPatience) break;
        }
        std::unique_lock<std::mutex> lock(mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, [&] { return pass_.load() != seen; });
        sleepers_.fetch_sub(1);
        return pass_.load();
    }

    Turns turns_;
    int hired_ = 0;  // as job_: only the caller that has the pool writes it
    Job job_;
    std::atomic<int> team_{0};
    Range ranges_[kMaxThreads];
    alignas(64) std::atomic<Index> done_{0};
    alignas(64) std::atomic<std::uint64_t> pass_{0};
    std::atomic<int> sleepers_{0};
    std::mutex mutex_;
    std::condition_variable wake_;
};

}  // namespace detail

// work(chunk) for chunk = 0 .. chunks - 1, in no particular order, on up to `threads` threads; returns when all are
// done. `work` must not throw. With an interrupt that has been requested, chunks may have been left out.
template <class Work>
void parallel_for(int threads, Index chunks, const Work& work, Interrupt* interrupt = nullptr) {
    const auto call = [](void* context, Index chunk) { (*static_cast<const Work*>(context))(chunk); };
    detail::Pool::shared().run(threads, chunks, call, const_cast<void*>(static_cast<const void*>(&work)), interrupt);
}

// Says that the calling thread does not go on soon, so that others need not wait for it.
inline void leave_pool() { detail::Pool::shared().leave(); }

}  // namespace fastlanczos
