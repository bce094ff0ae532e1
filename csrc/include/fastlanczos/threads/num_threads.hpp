// How many threads the engine uses.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace fastlanczos {

namespace detail {

// As many as the process may run on; OMP_NUM_THREADS asks for fewer or more, as everywhere.
inline int default_threads() {
    if (const char* asked = std::getenv("OMP_NUM_THREADS")) {
        const long threads = std::strtol(asked, nullptr, 10);
        if (threads >= 1 && threads <= 4096) return static_cast<int>(threads);
    }
#if defined(__linux__)
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) == 0) return std::max(1, CPU_COUNT(&cores));
#endif
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace detail

inline std::atomic<int>& thread_limit() {
    static std::atomic<int> limit{0};  // 0: the default
    return limit;
}

// How many threads a pass may use, the calling one included.
inline int num_threads() {
    const int limit = thread_limit().load(std::memory_order_relaxed);
    static const int standard = detail::default_threads();
    return limit > 0 ? limit : standard;
}

}  // namespace fastlanczos
