"""fastlanczos/curvature/compiled.py."""

import pytest

torch = pytest.importorskip("torch")

from cases.networks import batches, dense_hessian, mlp  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402

F = torch.nn.functional


@pytest.fixture
def compiled(monkeypatch):
    """The number of pieces of code that were compiled; by a back end that needs no minutes."""
    codes = []
    torch_compile = torch.compile

    def quick(code, **options):
        codes.append(code)
        return torch_compile(code, backend="aot_eager", **options)

    monkeypatch.setattr(torch, "compile", quick)
    return codes


def test_compiled_products_are_the_same_and_code_serves_all_pieces_of_a_shape(compiled):
    model, data = mlp(), batches((7, 7, 3))
    schedule = flt.Schedule("kept", together=20)
    H = flt.HessianOperator(model, F.cross_entropy, data, compile=True, schedule=schedule)
    exact = dense_hessian(model, F.cross_entropy, data)
    norm = torch.linalg.matrix_norm(exact, 2)
    v = torch.randn(H.shape[0], 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.abs(H @ v - exact @ v).max() < 1e-12 * norm
    assert len(compiled) == 2  # for seven samples, and for three
    assert torch.abs(H @ v[:, 0] - exact @ v[:, 0]).max() < 1e-12 * norm
    assert len(compiled) == 4
    with torch.no_grad():
        model[0].weight *= 1.5
    exact = dense_hessian(model, F.cross_entropy, data)
    assert torch.abs(H @ v - exact @ v).max() < 1e-12 * torch.linalg.matrix_norm(exact, 2)
    assert len(compiled) == 4


@pytest.mark.parametrize("operator", [flt.GGNOperator, flt.FisherOperator])
def test_the_other_operators_compile_too(compiled, operator):
    plain, other = (operator(mlp(), F.cross_entropy, batches(), compile=compile) for compile in (False, True))
    v = torch.randn(plain.shape[0], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.abs(plain @ v - other @ v).max() < 1e-12 * torch.abs(plain @ v).max()
    assert compiled


def test_by_the_compiler_that_users_get():
    model, data = mlp(), batches((5,))
    H = flt.HessianOperator(model, F.cross_entropy, data, compile=True)
    exact = dense_hessian(model, F.cross_entropy, data)
    v = torch.randn(H.shape[0], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.abs(H @ v - exact @ v).max() < 1e-12 * torch.linalg.matrix_norm(exact, 2)


def test_graphs_that_are_not_kept_are_not_compiled():
    H = flt.HessianOperator(mlp(), F.cross_entropy, batches(), compile=True, schedule=flt.Schedule("rebuilt"))
    with pytest.raises(
        ValueError, match="compile=True needs graphs that are kept in memory, but the schedule is: graphs rebuilt"
    ):
        _ = H @ torch.ones(H.shape[0])
