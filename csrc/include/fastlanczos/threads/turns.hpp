// Several callers and one pool: who has it, who waits, who works alone.
//
// One caller has the pool at a time. Another one (a second Python thread with a run of its own) works alone while there
// are threads to spare. Otherwise it waits, and callers take turns of some milliseconds: runs that alternate pass by
// pass would push each other's data out of the caches, and be slower than one after the other.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "num_threads.hpp"

namespace fastlanczos {

namespace detail {

// Whose turn it is to use the pool.
class Turns {
public:
    // True: the pool is the caller's until end(). False: the caller works alone, until end_alone().
    bool begin(int threads) {
        std::unique_lock<std::mutex> lock(mutex_);
        const std::thread::id me = std::this_thread::get_id();
        for (;;) {
            const auto now = Clock::now();
            const std::thread::id nobody;
            const bool over = now > began_ + kTurn, away = now > ended_ + std::max<Clock::duration>(kGap, longest_);
            if (!taken_ && (owner_ == me ? !over || !watched_ : over || away || owner_ == nobody)) {
                taken_ = true;
                team_ = threads;
                if (owner_ != me || over) {
                    began_ = now;
                    longest_ = {};
                }
                owner_ = me;
                pass_began_ = now;
                return true;
            }
            if (team_ + alone_ < num_threads() || (taken_ && now > pass_began_ + kTurn)) {
                ++alone_;
                return false;
            }
            wait(lock);
        }
    }

    void end() {
        std::lock_guard<std::mutex> lock(mutex_);
        taken_ = false;
        ended_ = Clock::now();
        longest_ = std::max(longest_, ended_ - pass_began_);
        if (watched_ && ended_ > began_ + kTurn) turn_over_.notify_one();
    }

    // The caller has nothing more to do for now: the turn is somebody else's without a wait.
    void leave() {
        std::lock_guard<std::mutex> lock(mutex_);
        if (taken_ || owner_ != std::this_thread::get_id()) return;
        owner_ = std::thread::id();
        if (watched_) turn_over_.notify_one();
    }

    void end_alone() {
        std::lock_guard<std::mutex> lock(mutex_);
        --alone_;
    }

private:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::milliseconds kTurn{50};  // and nobody waits for a pass that takes longer
    static constexpr std::chrono::milliseconds kLook{1};
    // An owner that is away for longer, and for longer than its passes take, has a long product to do.
    static constexpr std::chrono::microseconds kGap{200};

    // One of those who wait looks again every now and then; the others wait for their turn to do so.
    void wait(std::unique_lock<std::mutex>& lock) {
        next_.wait(lock, [this] { return !watched_; });
        watched_ = true;
        turn_over_.wait_for(lock, kLook);
        watched_ = false;
        next_.notify_one();
    }

    std::mutex mutex_;
    std::condition_variable next_, turn_over_;
    bool taken_ = false, watched_ = false;
    int team_ = 0, alone_ = 0;
    std::thread::id owner_;
    Clock::time_point began_, ended_, pass_began_;
    Clock::duration longest_{};
};

}  // namespace detail

}  // namespace fastlanczos
