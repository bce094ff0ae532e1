import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastlanczos as fl


@pytest.fixture(autouse=True)
def _threads_as_they_were():
    before = fl.get_num_threads()
    yield
    fl.set_num_threads(before)


@pytest.mark.parametrize("variable", ["FASTLANCZOS_NUM_THREADS", "OMP_NUM_THREADS"])
def test_threads_come_from_the_environment(variable):
    environment = {k: v for k, v in os.environ.items() if k not in ("FASTLANCZOS_NUM_THREADS", "OMP_NUM_THREADS")}
    command = [sys.executable, "-c", "import fastlanczos as fl; print(fl.get_num_threads())"]
    done = subprocess.run(command, env=environment | {variable: "3"}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"


def test_a_number_of_threads_that_is_none_is_warned_of():
    command = [sys.executable, "-W", "error", "-c", "import fastlanczos"]
    environment = os.environ | {"FASTLANCZOS_NUM_THREADS": "many"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "FASTLANCZOS_NUM_THREADS='many' is not a number of threads" in done.stderr


@pytest.mark.parametrize(("threads", "error"), [(0, ValueError), (-2, ValueError), (1.5, TypeError)])
def test_bad_numbers_of_threads_are_told(threads, error):
    with pytest.raises(error, match="threads must be"):
        fl.set_num_threads(threads)


def test_by_default_there_are_as_many_as_the_process_may_run_on():
    environment = {k: v for k, v in os.environ.items() if k not in ("FASTLANCZOS_NUM_THREADS", "OMP_NUM_THREADS")}
    program = "import os; os.sched_setaffinity(0, {0}); import fastlanczos as fl; print(fl.get_num_threads())"
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("no affinity on this system")
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_threadpoolctl_sees_and_limits_the_pool():
    threadpoolctl = pytest.importorskip("threadpoolctl", minversion="3.3")
    fl.set_num_threads(3)
    mine = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "fastlanczos"]
    assert [pool["num_threads"] for pool in mine] == [3]
    assert mine[0]["version"] == fl.__version__
    with threadpoolctl.threadpool_limits(1):
        assert fl.get_num_threads() == 1
    assert fl.get_num_threads() == 3
    with threadpoolctl.threadpool_limits(2, user_api="fastlanczos"):
        assert fl.get_num_threads() == 2
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        assert fl.get_num_threads() == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_threads_of_its_own_and_gives_the_same_bits():
    program = (
        "import os, numpy as np, fastlanczos as fl\n"
        "fl.set_num_threads(2)\n"
        "d = np.linspace(0, 1, 200_000)\n"
        "run = lambda: fl.lanczos(lambda v: d * v, 200_000, 20, seed=0).alpha.tobytes()\n"
        "expected = run()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    fine = run() == expected and fl.get_num_threads() == 2\n"
        "    fl.set_num_threads(3)\n"
        "    fine = fine and run() == expected\n"
        "    tasks = len(os.listdir('/proc/self/task')) if os.path.isdir('/proc/self/task') else 3\n"
        "    os._exit(0 if fine and tasks >= 3 else 3)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert run() == expected\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_python_threads_with_runs_of_their_own_get_the_same_bits_as_alone():
    fl.set_num_threads(4)
    sizes = [500, 20_000, 60_000, 3_000, 20_001, 700, 40_000, 9]

    def run(n):
        d = np.linspace(-1, 1, n)
        r = fl.lanczos(lambda v: d * v, n, 40, seed=n)
        return r.alpha.tobytes(), r.beta.tobytes(), fl.quadrature(np.tile(r.alpha, (50, 1)), np.tile(r.beta, (50, 1)))

    alone = [run(n) for n in sizes]
    together = [None] * len(sizes)

    def work(slot):
        for _ in range(3):
            together[slot] = run(sizes[slot])

    threads = [threading.Thread(target=work, args=(slot,)) for slot in range(len(sizes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        assert one[:2] == other[:2]
        assert np.array_equal(one[2], other[2])


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="no /proc on this system")
def test_threads_with_nothing_to_do_sleep():
    program = (
        "import time, resource, numpy as np, fastlanczos as fl\n"
        "fl.set_num_threads(4)\n"
        "d = np.linspace(0, 1, 300_000)\n"
        "fl.lanczos(lambda v: d * v, 300_000, 10, seed=0)\n"
        "time.sleep(0.05)\n"
        "before = time.process_time()\n"
        "time.sleep(0.5)\n"
        "print(time.process_time() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.1  # three threads that spin would have used 1 s or more
