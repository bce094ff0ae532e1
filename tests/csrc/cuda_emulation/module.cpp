// fastlanczos._cuda on the emulated device, and C functions for the tests to reach that device.
#include <cstring>
#include <deque>
#include <map>

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

// The handlers that XLA calls on a GPU, for XLA on the CPU: buffers go to the emulated device and back, and the stream
// is the emulated device's.
namespace {

using Handler = XLA_FFI_Error*(XLA_FFI_CallFrame*);

XLA_FFI_Error* tell_stream(XLA_FFI_Stream_Get_Args* args) {
    args->stream = emulation::Device::get().stream;
    return nullptr;
}

// Copies of buffers; those at one address stay at one.
class There {
public:
    std::vector<void*> put(void** buffers, std::int64_t count) {
        std::vector<void*> copies;
        for (std::int64_t i = 0; i < count; ++i) {
            auto& copy = structs_.emplace_back(*static_cast<XLA_FFI_Buffer*>(buffers[i]));
            const std::size_t size = xla::bytes(copy);
            void*& there = memory_[{copy.data, size}];
            if (!there) {
                there = emulation::Device::get().allocate(std::max<std::size_t>(size, 1));
                std::memcpy(there, copy.data, size);
            }
            copy.data = there;
            copies.push_back(&copy);
        }
        return copies;
    }

    ~There() {
        for (const auto& [home, there] : memory_) {
            std::memcpy(home.first, there, home.second);
            emulation::Device::get().release(there);
        }
    }

private:
    std::deque<XLA_FFI_Buffer> structs_;
    std::map<std::pair<void*, std::size_t>, void*> memory_;
};

XLA_FFI_Error* on_emulation(XLA_FFI_CallFrame* frame, Handler* handler) {
    if (frame->extension_start) return handler(frame);
    XLA_FFI_Api api = *frame->api;
    api.XLA_FFI_Stream_Get = &tell_stream;
    XLA_FFI_CallFrame copy = *frame;
    copy.api = &api;
    There there;
    std::vector<void*> arguments = there.put(frame->args.args, frame->args.size),
                       results = there.put(frame->rets.rets, frame->rets.size);
    copy.args.args = arguments.data();
    copy.rets.rets = results.data();
    return handler(&copy);
}

}  // namespace

EXPORT XLA_FFI_Error* emulation_xla_start(XLA_FFI_CallFrame* frame) {
    return on_emulation(frame, &fastlanczos_xla_cuda_start);
}
EXPORT XLA_FFI_Error* emulation_xla_step(XLA_FFI_CallFrame* frame) {
    return on_emulation(frame, &fastlanczos_xla_cuda_step);
}
EXPORT XLA_FFI_Error* emulation_xla_read(XLA_FFI_CallFrame* frame) {
    return on_emulation(frame, &fastlanczos_xla_cuda_read);
}
EXPORT XLA_FFI_Error* emulation_xla_quadrature(XLA_FFI_CallFrame* frame) {
    return on_emulation(frame, &fastlanczos_xla_cuda_quadrature);
}
