import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from converted import convert, run
from small_models import scramble

from lstm_zoo.exporters import flatbuffer


@pytest.fixture(scope="module")
def content() -> bytes:
    inputs = keras.Input((5, 3), name="series")
    model = keras.Model(inputs, keras.layers.Dense(2, name="answer")(keras.layers.LSTM(6)(inputs)))
    scramble(model)
    return convert(model)


def test_parsing_and_packing_change_nothing(content):
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype("float32")
    np.testing.assert_array_equal(run(flatbuffer.pack(flatbuffer.parse(content)), x), run(content, x))
    assert flatbuffer.pack(flatbuffer.parse(content)) == content


def test_weights_lie_at_multiples_of_sixteen(content):
    model = schema.Model.GetRootAs(content, 0)
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    starts = [buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers if buffer.DataLength() >= 64]
    assert len(starts) >= 3
    assert not [start for start in starts if start % 16]


def test_added_tensor_is_found_again(content):
    model = flatbuffer.parse(content)
    graph = model.subgraphs[0]
    for values in (np.arange(6, dtype="float32").reshape(2, 3), np.array([1, -2], "int8"), np.ones((1,), "float16")):
        again = flatbuffer.parse(flatbuffer.pack(_with(model, graph, values)))
        found = flatbuffer.constant(again, again.subgraphs[0], len(again.subgraphs[0].tensors) - 1)
        np.testing.assert_array_equal(found, values)
        assert found.dtype == values.dtype
    empty = flatbuffer.add_tensor(model, graph, "computed", None, [1, 2], isVariable=True)
    assert flatbuffer.constant(model, graph, empty) is None
    assert graph.tensors[empty].isVariable


def _with(model, graph, values):
    flatbuffer.add_tensor(model, graph, "new", values)
    return model


def test_operator_code_is_added_once(content):
    model = flatbuffer.parse(content)
    first = flatbuffer.operator_code(model, "DEQUANTIZE", 3)
    assert first == len(model.operatorCodes) - 1
    assert flatbuffer.operator_code(model, "DEQUANTIZE", 3) == first
    assert flatbuffer.operator_code(model, "DEQUANTIZE", 2) == first + 1


def compact(content):
    model = flatbuffer.parse(content)
    flatbuffer.compact(model)
    return flatbuffer.pack(model)


def test_equal_constants_are_stored_once_and_unused_things_are_left_out(content):
    model = flatbuffer.parse(content)
    graph = model.subgraphs[0]
    large = np.random.default_rng(0).standard_normal(5_000).astype("float32")
    flatbuffer.add_tensor(model, graph, "unused", large)
    flatbuffer.operator_code(model, "DEQUANTIZE", 3)
    swollen = flatbuffer.pack(model)
    assert len(swollen) > len(content) + large.nbytes
    assert compact(swollen) == content

    twins = flatbuffer.parse(content)
    graph = twins.subgraphs[0]
    weights = next(at for at, each in enumerate(graph.tensors) if each.shape is not None and list(each.shape) == [2, 6])
    flatbuffer.add_tensor(twins, graph, "twin", flatbuffer.constant(twins, graph, weights))
    before = len(twins.buffers)
    graph.outputs = [*graph.outputs, len(graph.tensors) - 1]  # so that it is used
    assert len(flatbuffer.parse(compact(flatbuffer.pack(twins))).buffers) == before - 1


def test_compact_keeps_the_signature(content):
    x = np.ones((1, 5, 3), "float32")
    (signature,) = flatbuffer.parse(content).signatureDefs
    assert [each.name for each in (*signature.inputs, *signature.outputs)] == [b"series", b"answer"]
    assert run(content, x).shape == (1, 2)
