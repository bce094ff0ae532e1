"""What a step is predicted to reach of a GPU's copy bandwidth, by arithmetic: tiles, bytes under way, barriers.

Prints the table of docs/cuda.md. The model, for each multiprocessor: a tile takes the time of its bytes at the memory's
speed, or that of its work on shared memory, whichever is longer; with two tiles in turn a latency comes on top of the
bytes, since the next tile is asked for when the one before has arrived; with one tile nothing overlaps. Work on shared
memory: wavefronts of 128 bytes, one a cycle (rows twice, coefficients once), and 64 fused multiply-adds a cycle.
Inspect and normalize stream at the memory's speed; four barriers of the grid and a launch are added.
"""

from dataclasses import dataclass

KERNEL_THREADS, MOST_STAGES = 256, 6  # kMaxThreads, kMaxStages
LATENCY = 700e-9  # of a read from memory under load, s
GRID_BARRIER, LAUNCH, BARRIER = 1.5e-6, 3e-6, 30  # s, s, cycles


@dataclass(frozen=True)
class Device:
    """A GPU: bytes a second, multiprocessors, cycles a second, shared memory of a block."""

    name: str
    bandwidth: float
    multiprocessors: int
    clock: float
    shared_bytes: int = 227 * 1024


H200 = Device("H200", 4.8e12 * 0.92, 132, 1.755e9)  # a copy reaches some 92% of the data sheet


def tile_of(rows, itemsize, shared_bytes, stages=MOST_STAGES, threads=KERNEL_THREADS):
    """Return (stages, width, rows held) as choose_tile() of sweep.cuh does."""
    most = min(2 * threads, 512)
    room = shared_bytes - 8 * (32 + 4 * threads + 2 * most + 2 * 1024)
    if stages > 2:
        width = threads
        while width >= 16:
            size = rows * width * itemsize
            if 3 * size <= room and rows <= 32 * (threads // 32) * (32 // min(32, width // 2)):
                return min(stages, room // size if size else 3), width, rows
            width //= 2
    width = most
    while width > 32 and 2 * rows * width * itemsize > room:
        width //= 2
    if 2 * rows * width * itemsize <= room:
        return 2, width, rows
    return 1, width, min(rows, room // (width * itemsize))


def predict(rows, itemsize, n=10**7, stages=MOST_STAGES, device=H200):
    """Return what a step with so many rows is predicted to do, as a dict."""
    used, width, held = tile_of(rows, itemsize, device.shared_bytes, stages)
    speed = device.bandwidth / device.multiprocessors
    pairs = rows * width / 2
    wavefronts = pairs / 32 * (2 * 2 * itemsize * 32 / 128 + 1)
    barriers = 2 if used > 2 else 4
    cycles = wavefronts + 6 * pairs / 64 + barriers * BARRIER
    work = cycles / device.clock
    vectors = 4 * 8 * width  # u, z, v, w
    bytes_of_tile = (rows + (rows - held)) * width * itemsize + vectors
    moving = bytes_of_tile / speed
    each = {True: max(moving, work), False: max(moving + LATENCY, work)}[used > 2]
    if used == 1:
        each = moving + LATENCY + work
    tiles = -(-n // (width * device.multiprocessors))
    sweep = tiles * each
    around = n * 8 * (2 + 3) / device.bandwidth  # inspect, normalize
    seconds = sweep + around + 4 * GRID_BARRIER + LAUNCH
    moved = n * (rows * itemsize + 8 * (4 + 5))
    return {
        "stages": used,
        "width": width,
        "under way": (used - 1) * held * width * itemsize,
        "barriers": barriers,
        "work": work / moving,
        "share": moved / seconds / device.bandwidth,
        "milliseconds": 1e3 * seconds,
    }


def markdown():
    """Return the table, for float64 rows, both schemes."""
    lines = [
        "| rows | scheme | tiles | columns | KiB under way | barriers a tile | work / memory time | share of copy "
        "bandwidth | ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for rows in (16, 64, 128, 400):
        for name, stages in (("two tiles", 2), ("ring", MOST_STAGES)):
            p = predict(rows, 8, stages=stages)
            if stages > 2 and p["stages"] <= 2:
                continue  # more rows than a ring holds
            lines.append(
                f"| {rows} | {name if p['stages'] > 1 else 'one tile'} | {p['stages']} | {p['width']} | "
                f"{p['under way'] / 1024:.0f} | {p['barriers']} | {p['work']:.2f} | {p['share']:.0%} | "
                f"{p['milliseconds']:.2f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
