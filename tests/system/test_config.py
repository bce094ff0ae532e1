import fastlanczos as fl
from fastlanczos.system.config import config


def test_show_config_prints_build_threads_cuda_and_versions(capsys):
    fl.show_config()
    printed = capsys.readouterr().out
    for word in ("version", "compiler", "instruction set", "threads", "cuda", "numpy", "scipy"):
        assert word in printed
    assert config()["machine"]["threads"] == fl.get_num_threads()
