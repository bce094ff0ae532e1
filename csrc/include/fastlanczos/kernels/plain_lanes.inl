// Eight lanes as plain loops, for compilers without vector types: what instruction_set.inl needs of them. Included by
// dispatch.hpp, inside the namespace.
template <class T>
struct PlainLanes {
    T lane[kLanes];
    T operator[](Index i) const { return lane[i]; }
    T& operator[](Index i) { return lane[i]; }
};
using Lanes = PlainLanes<double>;
using LaneIndices = PlainLanes<long long>;
using Mask = PlainLanes<bool>;

#define FASTLANCZOS_LANEWISE(Result, op, First, first_lane, Second, second_lane)  \
    inline Result operator op(const First& a, const Second& b) {                  \
        Result c{};                                                               \
        for (Index i = 0; i < kLanes; ++i) c.lane[i] = first_lane op second_lane; \
        return c;                                                                 \
    }
FASTLANCZOS_LANEWISE(Lanes, +, Lanes, a.lane[i], Lanes, b.lane[i])
FASTLANCZOS_LANEWISE(Lanes, -, Lanes, a.lane[i], Lanes, b.lane[i])
FASTLANCZOS_LANEWISE(Lanes, *, Lanes, a.lane[i], Lanes, b.lane[i])
FASTLANCZOS_LANEWISE(Lanes, /, Lanes, a.lane[i], Lanes, b.lane[i])
FASTLANCZOS_LANEWISE(Lanes, *, double, a, Lanes, b.lane[i])
FASTLANCZOS_LANEWISE(Lanes, *, Lanes, a.lane[i], double, b)
FASTLANCZOS_LANEWISE(Mask, <=, Lanes, a.lane[i], Lanes, b.lane[i])
FASTLANCZOS_LANEWISE(Mask, >, Lanes, a.lane[i], Lanes, b.lane[i])
FASTLANCZOS_LANEWISE(Mask, <=, LaneIndices, a.lane[i], Index, b)
FASTLANCZOS_LANEWISE(Mask, >, LaneIndices, a.lane[i], Index, b)
FASTLANCZOS_LANEWISE(Mask, &, Mask, a.lane[i], Mask, b.lane[i])
#undef FASTLANCZOS_LANEWISE

inline Lanes& operator+=(Lanes& a, const Lanes& b) { return a = a + b; }
inline Lanes& operator-=(Lanes& a, const Lanes& b) { return a = a - b; }
