// A way out of a pass that takes long.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>

namespace fastlanczos {

// Lets a long pass be given up. `poll` is called by the thread that called the engine, every few milliseconds at most;
// when it returns true, chunks that have not begun are passed over and the step ends as `interrupted`.
class Interrupt {
public:
    explicit Interrupt(std::function<bool()> poll) : poll_(std::move(poll)) {}

    bool requested() const { return requested_.load(std::memory_order_relaxed); }

    void check() {
        const auto now = Clock::now();
        if (now - last_ < std::chrono::milliseconds(40)) return;
        last_ = now;
        if (poll_()) requested_.store(true, std::memory_order_relaxed);
    }

private:
    using Clock = std::chrono::steady_clock;
    std::function<bool()> poll_;
    Clock::time_point last_ = Clock::now();
    std::atomic<bool> requested_{false};
};

}  // namespace fastlanczos
