// A GPU on the CPU, for tests: runs kernels block by block with every thread a fiber, and watches what they do.
//
// The three headers beside this one stand in for CUDA's own of the same names, so that the kernels and their bindings
// compile unchanged with an ordinary C++ compiler. A fiber runs until it has to wait: at __syncthreads(), at a warp
// shuffle, or at a barrier of the grid. In which order fibers get their turns is drawn from a seed. Whatever a kernel
// loads, stores or copies through fastlanczos/cuda/device.cuh is checked; the first of these ends the launch with an
// error that says where:
//     out of bounds         of shared memory, or of what has been allocated
//     not written           shared memory read before anyone wrote it, or while an asynchronous copy is under way
//     race                  two threads at one address, one of them writing, and no barrier between
//     divergent barrier     threads of a block (or grid, or warp) wait at different places, or have left
// A race is found whether or not it does harm in the order at hand: each access carries the number of barriers before
// it.
#pragma once

#include <algorithm>
#include <csetjmp>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <ucontext.h>

namespace emulation {

// The number of the fault that is on, of those that tests/csrc/test_cuda_kernels.py puts into the headers; 0 is none.
inline int fault = 0;

struct Size3 {
    unsigned x = 1, y = 1, z = 1;
};

struct Settings {
    int multiprocessors = 3;
    std::size_t shared_bytes = 64 * 1024;  // that a block may have
    unsigned seed = 0;
    bool cooperative = true;  // whether the device accepts cooperative launches
    std::size_t memory = std::size_t{1} << 30;
};

struct Access {
    std::uint32_t launch = 0, thread = 0, grid_epoch = 0, block_epoch = 0, warp_epoch = 0;
};

// What is known of four bytes.
struct Cell {
    Access write, read, other_read;
    bool in_flight = false;
};

struct Allocation {
    std::size_t bytes = 0, bytes_read = 0;
    std::vector<Cell> cells;
    bool borrowed = false;
};

struct Copy {
    unsigned char* to;
    unsigned char bytes[16];
};

enum class Wait { none, block, warp, grid, done };

struct Block;

struct Thread {
    Block* block = nullptr;
    std::uint32_t id = 0;  // in the grid
    Size3 index;
    Wait wait = Wait::none;
    const char* site = "";
    int line = 0, distance = 0;
    double given = 0.0, received = 0.0;
    std::vector<std::vector<Copy>> copies{1};  // the last group is not committed
    bool started = false;
    jmp_buf context;
    ucontext_t entry;
};

struct Block {
    Size3 index;
    std::vector<Thread> threads;
    std::vector<unsigned char> shared;
    std::vector<Cell> cells;
    std::vector<std::uint32_t> warp_epochs;
    std::uint32_t epoch = 0;
};

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Device {
public:
    static Device& get() {
        static Device device;
        return device;
    }

    Settings settings;
    std::size_t launches = 0, synchronizations = 0;
    std::size_t barriers = 0;  // of blocks, all of them together
    void* stream = nullptr;    // that all is expected on
    std::size_t strays = 0;    // what came on another one
    bool deferring = false;    // launches wait until somebody asks how far the device is
    std::size_t most_queued = 0;
    long long busy = 0;  // how many more times the device says that it is
    Size3 grid, block_size;
    Thread* current = nullptr;

    void* allocate(std::size_t bytes) {
        std::size_t used = 0;
        for (const auto& [_, allocation] : allocations_) used += allocation.bytes;
        if (used + bytes > settings.memory) return nullptr;
        auto* memory = static_cast<unsigned char*>(std::aligned_alloc(256, (bytes + 511) / 256 * 256));
        std::memset(memory, 0xff, bytes);  // NaN
        Allocation allocation;
        allocation.bytes = bytes;
        allocation.cells.resize((bytes + 3) / 4);
        allocations_[memory] = std::move(allocation);
        return memory;
    }

    void release(void* memory) {
        const auto found = allocations_.find(static_cast<unsigned char*>(memory));
        if (found == allocations_.end()) return;
        if (!found->second.borrowed) std::free(memory);
        allocations_.erase(found);
    }

    // Memory that somebody else has, as the device's.
    void borrow(void* memory, std::size_t bytes) {
        Allocation allocation;
        allocation.bytes = bytes;
        allocation.cells.resize((bytes + 3) / 4);
        allocation.borrowed = true;
        allocations_[static_cast<unsigned char*>(memory)] = std::move(allocation);
    }

    std::size_t used() const {
        std::size_t bytes = 0;
        for (const auto& [_, allocation] : allocations_) bytes += allocation.bytes;
        return bytes;
    }

    // Bytes that kernels have read of the allocation that begins there.
    std::size_t& bytes_read(void* memory) { return allocations_.at(static_cast<unsigned char*>(memory)).bytes_read; }

    bool on_device(const void* pointer) { return find(static_cast<const unsigned char*>(pointer)) != nullptr; }

    // Something for a stream: whether it is the expected one.
    void note(void* on) {
        if (on != stream) ++strays;
    }

    // A launch now, or later.
    void submit(std::function<void()> work) {
        if (!deferring) return work();
        queue_.push_back(std::move(work));
        most_queued = std::max(most_queued, queue_.size());
    }

    // Does some of what waits; false where there is nothing left.
    bool progress(std::size_t most) {
        for (; most > 0 && !queue_.empty(); --most) {
            const auto work = std::move(queue_.front());
            queue_.pop_front();
            work();
        }
        return !queue_.empty();
    }

    void launch(const std::function<void()>& kernel, Size3 grid_size, Size3 threads, std::size_t shared_bytes,
                bool cooperative) {
        if (shared_bytes > settings.shared_bytes) throw Failure("more shared memory than the device has");
        if (threads.x % 32) throw Failure("a block of threads that is no multiple of 32");
        ++launches;
        grid = grid_size;
        block_size = threads;
        kernel_ = &kernel;
        grid_epoch_ = 0;
        random_.seed(settings.seed + launches);
        if (cooperative) {
            run(0, grid.x, shared_bytes);
        } else {
            for (unsigned index : order(grid.x)) run(index, index + 1, shared_bytes);
        }
    }

    // Of the thread that runs.
    unsigned char* shared() { return current->block->shared.data(); }

    void watch(bool write, const void* pointer, std::size_t bytes, std::size_t alignment) {
        const auto* address = static_cast<const unsigned char*>(pointer);
        Block& block = *current->block;
        if (reinterpret_cast<std::uintptr_t>(address) % alignment) fail("a misaligned address");
        const unsigned char* begin = block.shared.data();
        if (address >= begin && address < begin + block.shared.size()) {
            if (address + bytes > begin + block.shared.size()) fail("out of bounds of shared memory");
            mark(write, block.cells, static_cast<std::size_t>(address - begin), bytes, true);
            return;
        }
        const unsigned char* start = nullptr;
        Allocation* allocation = find(address, &start);
        if (!allocation) fail("out of bounds: an address in no memory of the device");
        const auto offset = static_cast<std::size_t>(address - start);
        if (offset + bytes > allocation->bytes) fail("out of bounds of device memory");
        if (!write) allocation->bytes_read += bytes;
        mark(write, allocation->cells, offset, bytes, false);
    }

    void copy(void* to, const void* from, std::size_t bytes, std::size_t zeros) {
        if (bytes != 16 || zeros > 16) fail("an asynchronous copy of another size than 16 bytes");
        if (reinterpret_cast<std::uintptr_t>(from) % 16) fail("an asynchronous copy from a misaligned address");
        if (bytes > zeros) {
            const std::size_t valid = bytes - zeros;
            for (std::size_t i = 0; i < valid; i += 4) watch(false, static_cast<const unsigned char*>(from) + i, 4, 4);
        }
        watch(true, to, bytes, 16);
        in_flight(to, true);
        Copy copy{static_cast<unsigned char*>(to), {}};
        std::memcpy(copy.bytes, from, bytes - zeros);
        current->copies.back().push_back(copy);
    }

    void commit() { current->copies.emplace_back(); }

    void wait_prior(std::size_t pending) {
        auto& groups = current->copies;
        while (groups.size() - 1 > pending) {
            for (const Copy& copy : groups.front()) {
                std::memcpy(copy.to, copy.bytes, 16);
                in_flight(copy.to, false);
                watch(true, copy.to, 16, 16);
            }
            groups.erase(groups.begin());
        }
    }

    void wait(Wait kind, const char* site, int line) {
        current->wait = kind;
        current->site = site;
        current->line = line;
        yield();
    }

    double shuffle_xor(double x, int distance, const char* site, int line) {
        current->given = x;
        current->distance = distance;
        wait(Wait::warp, site, line);
        return current->received;
    }

private:
    static constexpr std::size_t kStack = 128 * 1024;

    [[noreturn]] void fail(const std::string& what) {
        const Thread& t = *current;
        throw Failure(what + " (block " + std::to_string(t.block->index.x) + ", thread " + std::to_string(t.index.x) +
                      ", after the barrier at " + t.site + ":" + std::to_string(t.line) + ")");
    }

    std::vector<unsigned> order(unsigned count) {
        std::vector<unsigned> all(count);
        for (unsigned i = 0; i < count; ++i) all[i] = i;
        for (unsigned i = count; i > 1; --i) std::swap(all[i - 1], all[random_() % i]);
        return all;
    }

    Allocation* find(const unsigned char* address, const unsigned char** start = nullptr) {
        auto next = allocations_.upper_bound(const_cast<unsigned char*>(address));
        if (next == allocations_.begin()) return nullptr;
        --next;
        if (address >= next->first + next->second.bytes) return nullptr;
        if (start) *start = next->first;
        return &next->second;
    }

    void in_flight(void* to, bool flying) {
        Block& block = *current->block;
        const auto offset = static_cast<std::size_t>(static_cast<unsigned char*>(to) - block.shared.data());
        for (std::size_t cell = offset / 4; cell < (offset + 16) / 4; ++cell) block.cells[cell].in_flight = flying;
    }

    bool ordered(const Access& before, const Access& now) const {
        if (before.launch != now.launch || before.thread == now.thread || before.grid_epoch != now.grid_epoch)
            return true;
        const std::uint32_t size = block_size.x;
        if (before.thread / size != now.thread / size) return false;
        if (before.block_epoch != now.block_epoch) return true;
        return before.thread / 32 == now.thread / 32 && before.warp_epoch != now.warp_epoch;
    }

    void mark(bool write, std::vector<Cell>& cells, std::size_t offset, std::size_t bytes, bool in_shared) {
        const Block& block = *current->block;
        const Access now{static_cast<std::uint32_t>(launches), current->id, grid_epoch_, block.epoch,
                         block.warp_epochs[current->index.x / 32]};
        const char* where = in_shared ? "in shared memory" : "in global memory";
        for (std::size_t i = offset / 4; i < (offset + bytes + 3) / 4; ++i) {
            Cell& cell = cells[i];
            if (in_shared && !write && cell.in_flight) fail("shared memory read before its copy has arrived");
            if (in_shared && !write && cell.write.launch != now.launch)
                fail("shared memory read that nobody has written");
            if (!ordered(cell.write, now)) fail(std::string("a race ") + where + " with a write");
            if (write) {
                if (!ordered(cell.read, now) || !ordered(cell.other_read, now))
                    fail(std::string("a race ") + where + " with a read");
                cell.write = now;
            } else {
                if (cell.read.thread != now.thread) cell.other_read = cell.read;
                cell.read = now;
            }
        }
    }

    // Fibers.

    void yield() {
        Thread* self = current;
        if (!_setjmp(self->context)) _longjmp(scheduler_, 1);
    }

    static void enter() {
        Device& device = get();
        try {
            (*device.kernel_)();
        } catch (const std::exception& error) {
            device.failure_ = error.what();
        }
        device.current->wait = Wait::done;
        _longjmp(device.scheduler_, 1);
    }

    __attribute__((noinline)) void resume(Thread& thread) {
        current = &thread;
        if (!_setjmp(scheduler_)) {
            if (thread.started) _longjmp(thread.context, 1);
            thread.started = true;
            setcontext(&thread.entry);
        }
        current = nullptr;
    }

    __attribute__((noinline)) static void prepare(Thread& thread, unsigned char* stack) {
        getcontext(&thread.entry);
        thread.entry.uc_stack.ss_sp = stack;
        thread.entry.uc_stack.ss_size = kStack;
        thread.entry.uc_link = nullptr;
        makecontext(&thread.entry, &Device::enter, 0);
    }

    unsigned char* stack(std::size_t index) {
        while (stacks_.size() <= index)
            stacks_.push_back(static_cast<unsigned char*>(
                mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)));
        return stacks_[index];
    }

    void run(unsigned first, unsigned end, std::size_t shared_bytes) {
        std::vector<std::unique_ptr<Block>> blocks;
        std::size_t stacks = 0;
        for (unsigned b = first; b < end; ++b) {
            auto block = std::make_unique<Block>();
            block->index = {b, 0, 0};
            block->shared.assign(shared_bytes, 0xff);
            block->cells.resize((shared_bytes + 3) / 4);
            block->warp_epochs.resize(block_size.x / 32);
            block->threads.resize(block_size.x);
            for (unsigned t = 0; t < block_size.x; ++t) {
                Thread& thread = block->threads[t];
                thread.block = block.get();
                thread.id = b * block_size.x + t;
                thread.index = {t, 0, 0};
                prepare(thread, stack(stacks++));
            }
            blocks.push_back(std::move(block));
        }
        failure_.clear();
        for (bool busy = true; busy;) {
            bool moved = false;
            busy = false;
            for (unsigned b : order(static_cast<unsigned>(blocks.size())))
                for (unsigned t : order(block_size.x)) {
                    Thread& thread = blocks[b]->threads[t];
                    if (thread.wait != Wait::none) continue;
                    resume(thread);
                    moved = true;
                    if (!failure_.empty()) throw Failure(failure_);
                }
            for (auto& block : blocks) moved |= release_waiting(*block);
            moved |= release_grid(blocks);
            for (auto& block : blocks)
                for (Thread& thread : block->threads) busy |= thread.wait != Wait::done;
            if (busy && !moved) throw Failure(divergence(blocks));
        }
    }

    // Whether the threads first .. end - 1 wait for the same thing at the same place.
    static bool together(const std::vector<Thread>& threads, std::size_t first, std::size_t end, Wait kind) {
        for (std::size_t t = first; t < end; ++t)
            if (threads[t].wait != kind || threads[t].line != threads[first].line ||
                std::strcmp(threads[t].site, threads[first].site) != 0)
                return false;
        return true;
    }

    bool release_waiting(Block& block) {
        bool released = false;
        for (std::size_t first = 0; first < block.threads.size(); first += 32)
            if (together(block.threads, first, first + 32, Wait::warp)) {
                for (std::size_t lane = 0; lane < 32; ++lane) {
                    Thread& thread = block.threads[first + lane];
                    thread.received = block.threads[first + (lane ^ static_cast<std::size_t>(thread.distance))].given;
                }
                for (std::size_t lane = 0; lane < 32; ++lane) block.threads[first + lane].wait = Wait::none;
                ++block.warp_epochs[first / 32];
                released = true;
            }
        if (together(block.threads, 0, block.threads.size(), Wait::block)) {
            for (Thread& thread : block.threads) thread.wait = Wait::none;
            ++block.epoch;
            ++barriers;
            released = true;
        }
        return released;
    }

    bool release_grid(std::vector<std::unique_ptr<Block>>& blocks) {
        if (blocks.size() != grid.x) return false;
        for (auto& block : blocks)
            if (!together(block->threads, 0, block->threads.size(), Wait::grid)) return false;
        for (auto& block : blocks)
            for (Thread& thread : block->threads) thread.wait = Wait::none;
        ++grid_epoch_;
        return true;
    }

    static std::string divergence(const std::vector<std::unique_ptr<Block>>& blocks) {
        std::map<std::string, int> places;
        const char* names[] = {"runs", "waits for its block at ", "waits for its warp at ", "waits for the grid at ",
                               "has left"};
        for (const auto& block : blocks)
            for (const Thread& thread : block->threads) {
                std::string place = names[static_cast<int>(thread.wait)];
                if (thread.wait != Wait::done) place += std::string(thread.site) + ":" + std::to_string(thread.line);
                ++places[place];
            }
        std::string report = "a divergent barrier:";
        for (const auto& [place, count] : places) report += " " + std::to_string(count) + " x " + place + ";";
        return report;
    }

    std::deque<std::function<void()>> queue_;
    std::map<unsigned char*, Allocation> allocations_;
    std::vector<unsigned char*> stacks_;
    std::mt19937 random_;
    const std::function<void()>* kernel_ = nullptr;
    std::uint32_t grid_epoch_ = 0;
    std::string failure_;
    jmp_buf scheduler_;
};

}  // namespace emulation
