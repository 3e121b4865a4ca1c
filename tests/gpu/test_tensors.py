"""Tensors of PyTorch on their way: run by `make test-gpu`, with a GPU or without."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from jupyter_remote import values
from jupyter_remote.contents.update import updater
from jupyter_remote.errors import CaptureError
from jupyter_remote.pickling import tensors
from tests.values.trips import open_up

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SHAPES = [(), (0,), (3,), (2, 3, 4), (300, 300)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.complex64]


@pytest.fixture(autouse=True)
def accepted():
    with tensors.gpu(lambda: True):
        yield


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_tensor_comes_as_it_went(shape: Any, dtype: torch.dtype, device: str) -> None:
    tensor = (torch.randn(shape) * 9).to(dtype).to(device)
    there = open_up(values.pack(tensor))
    assert (there.dtype, there.device, there.shape) == (tensor.dtype, tensor.device, tensor.shape)
    assert torch.equal(there, tensor)
    there.add_(True) if dtype is not torch.bool else there.logical_not_()  # it can be written to


@pytest.mark.parametrize("device", DEVICES)
def test_parameters_keep_their_gradients_and_attributes(device: str) -> None:
    layer = torch.nn.Linear(300, 300).to(device)
    layer(torch.ones(1, 300, device=device)).sum().backward()
    layer.weight.note = "mine"
    tied = {"layer": layer, "weight": layer.weight}
    there = open_up(values.pack(tied))
    weight = there["weight"]
    assert weight is there["layer"].weight
    assert type(weight) is torch.nn.Parameter
    assert torch.equal(weight.grad, layer.weight.grad)
    assert (weight.note, weight.requires_grad) == ("mine", True)
    loose = torch.ones(3, requires_grad=True) * 2
    assert open_up(values.pack(loose)).requires_grad


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # of PyTorch, when it opens one
def test_what_is_not_a_plain_tensor_goes_the_usual_way() -> None:
    sparse = torch.eye(3).to_sparse()
    assert torch.equal(open_up(values.pack(sparse)).to_dense(), torch.eye(3))
    assert torch.equal(open_up(values.pack(torch.tensor([1 + 2j]).conj())), torch.tensor([1 - 2j]))
    turned = torch.arange(6).reshape(2, 3).T
    assert torch.equal(open_up(values.pack(turned)), turned)


def test_a_large_tensor_travels_beside_the_pickle_without_a_copy() -> None:
    tensor = torch.zeros(1_000_000)
    packed = values.pack(tensor, chunked=False)
    assert packed.parcel.segments[0].size_bytes < 1000
    [buffer] = [view for view in packed.contents.values() if len(view) >= 4_000_000]
    tensor[5] = 1.0
    assert memoryview(buffer).cast("B").cast("f")[5] == 1.0


def test_a_model_that_trained_elsewhere_is_the_same_object_here() -> None:
    model = torch.nn.Linear(2, 2)
    there = open_up(values.pack(model))
    with torch.no_grad():
        there.weight.add_(1)
    assert updater(model.weight, there.weight) is not None
    assert values.fingerprint(model) != values.fingerprint(there)


@pytest.mark.skipif("cuda" in DEVICES, reason="is about computers without a GPU")
def test_a_tensor_of_a_gpu_arrives_in_main_memory_where_there_is_none() -> None:
    flat = torch.arange(3.0).view(torch.uint8).numpy()
    with tensors.noted() as moved:
        made = tensors._make_tensor(flat, torch.float32, (3,), "cuda:1", False, False, None)
    assert (made.tolist(), made.device.type, moved) == ([0.0, 1.0, 2.0], "cpu", {"cuda:1"})


@pytest.mark.skipif("cuda" not in DEVICES, reason="needs a GPU")
def test_a_tensor_of_a_gpu_is_refused_where_there_is_none() -> None:
    tensor = torch.ones(3, device="cuda")
    with tensors.gpu(lambda: False), pytest.raises(CaptureError, match=r"tensor on cuda:0"):
        values.pack(tensor)
    with pytest.raises(CaptureError, match=r"tensor on cuda:0"):
        values.pack(tensor.to_sparse())
