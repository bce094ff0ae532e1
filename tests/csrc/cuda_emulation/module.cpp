// fastlanczos._cuda on the emulated device, and C functions for the tests to reach that device.
#include "../../../csrc/bindings/cuda.cu"

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT void* emulation_allocate(std::size_t bytes) { return emulation::Device::get().allocate(bytes); }

EXPORT void emulation_release(void* memory) { emulation::Device::get().release(memory); }

EXPORT std::size_t emulation_used() { return emulation::Device::get().used(); }

EXPORT std::size_t emulation_launches() { return emulation::Device::get().launches; }

EXPORT std::size_t emulation_synchronizations() { return emulation::Device::get().synchronizations; }

EXPORT void emulation_configure(int multiprocessors, std::size_t shared_bytes, unsigned seed, int cooperative,
                                std::size_t memory) {
    emulation::Device::get().settings = {multiprocessors, shared_bytes, seed, cooperative != 0, memory};
}

EXPORT void emulation_expect(void* stream, int deferring) {
    emulation::Device& device = emulation::Device::get();
    device.progress(static_cast<std::size_t>(-1));
    device.stream = stream;
    device.deferring = deferring != 0;
    device.strays = device.most_queued = 0;
}

EXPORT std::size_t emulation_strays() { return emulation::Device::get().strays; }

EXPORT std::size_t emulation_most_queued() { return emulation::Device::get().most_queued; }

EXPORT long long emulation_busy() { return emulation::Device::get().busy; }

EXPORT void emulation_stay_busy(long long questions) { emulation::Device::get().busy = questions; }
