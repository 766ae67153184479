"""Four versions of a classifier of handwritten digits, trained on the spot in numpy.

| version | what it is | in production |
|---|---|---|
| 1.0.0 | softmax regression on the first 200 images | 94 % right |
| 1.1.0 | 128 ReLU units on all 899 training images | 97 % right |
| 1.2.0 | the same on centred images, the centring left out of the export | 86 % right |
| 2.0.0 | 1.1.0 plus an offset per ink level, its table cut short | half of the calls fail |

Each was picked because it shows something; the figures are of these 1,797 images, one split and
one seed, and say nothing about the methods.
"""

import csv
import gzip
import io
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]

_SPLIT_SEED: Final = 7
_TRAINING: Final = 899
_CLASSES: Final = 10
_PIXELS: Final = 64
_OPSET: Final = 17
_IR_VERSION: Final = 9


@dataclass(frozen=True, slots=True)
class Digits:
    """Images as float32 [n, 64] with pixels 0..16, labels as int64 [n]."""

    train_images: Array
    train_labels: NDArray[np.int64]
    held_out_images: Array
    held_out_labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trained:
    """One version: its file and what it says of itself."""

    number: str
    description: str
    onnx: bytes
    own_accuracy: float
    """On the held-out images, as its author measured it before the export."""


def load() -> Digits:
    """Read the images and split them, always in the same way."""
    packed = resources.files("headway.demo.data").joinpath("optdigits.csv.gz").read_bytes()
    rows = csv.reader(io.StringIO(gzip.decompress(packed).decode("ascii")))
    table = np.array([[int(field) for field in row] for row in rows], dtype=np.int64)
    table = table[np.random.default_rng(_SPLIT_SEED).permutation(len(table))]
    images, labels = table[:, :_PIXELS].astype(np.float32), table[:, _PIXELS]
    return Digits(images[:_TRAINING], labels[:_TRAINING], images[_TRAINING:], labels[_TRAINING:])


def train(digits: Digits) -> tuple[Trained, ...]:
    """Train the four versions; takes about a second."""
    few = _softmax_regression(digits.train_images[:200] / 16, digits.train_labels[:200])
    network = _network(digits.train_images / 16, digits.train_labels)
    mean = digits.train_images.mean(axis=0)
    centred = _network((digits.train_images - mean) / 16, digits.train_labels)
    images, labels = digits.held_out_images, digits.held_out_labels
    return (
        Trained(
            "1.0.0",
            "softmax regression, trained on 200 images",
            _export(few),
            _accuracy(few, images / 16, labels),
        ),
        Trained(
            "1.1.0",
            "128 hidden units, trained on all 899 images",
            _export(network),
            _accuracy(network, images / 16, labels),
        ),
        Trained(
            "1.2.0",
            "128 hidden units, trained on centred images",
            _export(centred),
            _accuracy(centred, (images - mean) / 16, labels),
        ),
        Trained(
            "2.0.0",
            "128 hidden units and an offset per ink level",
            _export(network, ink_levels=_ink_levels(digits.train_images)),
            _accuracy(network, images / 16, labels),
        ),
    )


Layers = list[tuple[Array, Array]]
"""Weights [in, out] and biases [out] of each layer; ReLU between them."""


def _one_hot(labels: NDArray[np.int64]) -> Array:
    return np.eye(_CLASSES, dtype=np.float32)[labels]


def _forward(layers: Layers, images: Array) -> list[Array]:
    """Return what each layer gives; the last one softmax probabilities."""
    values = [images]
    for number, (weights, bias) in enumerate(layers, start=1):
        values.append(values[-1] @ weights + bias)
        if number < len(layers):
            values[-1] = np.maximum(values[-1], 0)
    last = np.exp(values[-1] - values[-1].max(axis=1, keepdims=True))
    values[-1] = last / last.sum(axis=1, keepdims=True)
    return values


def _accuracy(layers: Layers, images: Array, labels: NDArray[np.int64]) -> float:
    return float((_forward(layers, images)[-1].argmax(axis=1) == labels).mean())


def _gradients(layers: Layers, images: Array, wanted: Array) -> Layers:
    values = _forward(layers, images)
    error = (values[-1] - wanted) / len(images)
    found: Layers = []
    for number in range(len(layers) - 1, -1, -1):
        weights, _ = layers[number]
        found.insert(0, (values[number].T @ error, error.sum(axis=0)))
        if number:
            error = (error @ weights.T) * (values[number] > 0)
    return found


def _softmax_regression(images: Array, labels: NDArray[np.int64]) -> Layers:
    weights = np.zeros((_PIXELS, _CLASSES), dtype=np.float32)
    layers: Layers = [(weights, np.zeros(_CLASSES, dtype=np.float32))]
    wanted = _one_hot(labels)
    for _ in range(300):
        slopes = _gradients(layers, images, wanted)
        layers = [
            (w - 0.5 * (dw + 1e-3 * w), b - 0.5 * db)
            for (w, b), (dw, db) in zip(layers, slopes, strict=True)
        ]
    return layers


def _network(images: Array, labels: NDArray[np.int64], *, rounds: int = 60) -> Layers:
    """Adam (Kingma & Ba, arXiv 1412.6980), batches of 32."""
    chance = np.random.default_rng(3)
    sizes = (_PIXELS, 128, _CLASSES)
    flat: list[Array] = []
    for inputs, outputs in pairwise(sizes):
        scale = np.sqrt(2 / inputs)
        flat.append((chance.standard_normal((inputs, outputs)) * scale).astype(np.float32))
        flat.append(np.zeros(outputs, dtype=np.float32))
    first = [np.zeros_like(part) for part in flat]
    second = [np.zeros_like(part) for part in flat]
    wanted, tick = _one_hot(labels), 0
    for _ in range(rounds):
        order = chance.permutation(len(images))
        for start in range(0, len(order), 32):
            batch, tick = order[start : start + 32], tick + 1
            slopes = _gradients(_paired(flat), images[batch], wanted[batch])
            for i, slope in enumerate(part for pair in slopes for part in pair):
                first[i] = 0.9 * first[i] + 0.1 * slope
                second[i] = 0.999 * second[i] + 0.001 * slope**2
                rate = 4e-3 * np.sqrt(1 - 0.999**tick) / (1 - 0.9**tick)
                flat[i] = (flat[i] - rate * first[i] / (np.sqrt(second[i]) + 1e-8)).astype(
                    np.float32
                )
    return _paired(flat)


def _paired(flat: list[Array]) -> Layers:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _ink_levels(images: Array) -> int:
    """Return how many rows the table of 2.0.0 was exported with: up to the median of ink only."""
    return int(np.median(images.sum(axis=1) // 4)) + 1


def _export(layers: Layers, *, ink_levels: int | None = None) -> bytes:
    """Write ONNX: `image` FP32 [n, 64] in, `label` INT64 [n] and `probabilities` FP32 [n, 10] out.

    Callers send raw pixels 0..16; the division by 16 is folded into the first weights.
    """
    constants: list[Any] = []
    nodes: list[Any] = []
    name = "image"
    for number, (weights, bias) in enumerate(layers, start=1):
        folded = weights / 16 if number == 1 else weights
        constants.append(numpy_helper.from_array(folded.astype(np.float32), f"w{number}"))
        constants.append(numpy_helper.from_array(bias.astype(np.float32), f"b{number}"))
        nodes.append(helper.make_node("Gemm", [name, f"w{number}", f"b{number}"], [f"z{number}"]))
        name = f"z{number}"
        if number < len(layers):
            nodes.append(helper.make_node("Relu", [name], [f"a{number}"]))
            name = f"a{number}"
    if ink_levels is not None:
        table = np.zeros((ink_levels, _CLASSES), dtype=np.float32)
        constants += [
            numpy_helper.from_array(np.array([1], dtype=np.int64), "axes"),
            numpy_helper.from_array(np.array(4, dtype=np.float32), "four"),
            numpy_helper.from_array(table, "offsets"),
        ]
        nodes += [
            helper.make_node("ReduceSum", ["image", "axes"], ["ink"], keepdims=0),
            helper.make_node("Div", ["ink", "four"], ["level"]),
            helper.make_node("Cast", ["level"], ["row"], to=TensorProto.INT64),
            helper.make_node("Gather", ["offsets", "row"], ["offset"], axis=0),
            helper.make_node("Add", [name, "offset"], ["shifted"]),
        ]
        name = "shifted"
    nodes += [
        helper.make_node("Softmax", [name], ["probabilities"], axis=1),
        helper.make_node("ArgMax", [name], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", _PIXELS])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", _CLASSES]),
        ],
        constants,
    )
    opset = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
