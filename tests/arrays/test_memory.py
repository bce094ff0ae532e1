from fastlanczos.arrays import memory


def test_available_memory_is_a_sensible_number_of_bytes():
    assert 2**20 < memory.available_memory() < 2**50


def test_a_containers_limit_is_heeded(tmp_path, monkeypatch):
    limit, usage = tmp_path / "max", tmp_path / "current"
    limit.write_text("3000000\n")
    usage.write_text("1000000\n")
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", (limit,))
    monkeypatch.setattr(memory, "_CGROUP_USAGES", (usage,))
    assert memory.available_memory() == 2_000_000
    limit.write_text("max\n")
    assert memory.available_memory() > 2_000_000
