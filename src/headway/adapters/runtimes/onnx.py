"""ONNX by onnxruntime, from bytes: external data is refused by construction."""

import ctypes
from collections.abc import Sequence
from math import prod
from typing import Any, Final

from headway.runner import packing
from headway.runner.ports import (
    CannotLoad,
    CannotRun,
    OutOfTime,
    Packed,
    Stop,
    Tensor,
    TensorSpec,
)

_QUIET: Final = 4
"""Only fatal errors on stderr; a model that fails tells its caller."""

_DATATYPES: Final = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
    **{
        f"tensor({u}int{bits})": f"{u.upper()}INT{bits}"
        for u in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
_NUMPY: Final = {
    "FP16": "<f2",
    "BF16": "<u2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BOOL": "?",
    "BYTES": "O",
    **{
        f"{u.upper()}INT{bits}": f"<{u or 'i'}{bits // 8}"
        for u in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
"""Little-endian, as the protocol has them. Of BF16, which NumPy has not, the bits."""
_ONNX_BF16: Final = 16
"""`TensorProto.BFLOAT16`."""


class OnnxRuntime:
    def __init__(self) -> None:
        try:
            import numpy as np  # noqa: PLC0415 - an extra, imported where it is first needed
            import onnxruntime as ort  # noqa: PLC0415 - an extra, 18 MB
        except ImportError as error:
            raise CannotLoad(
                "models in ONNX need an extra: install headway[onnx], in the clone "
                "`pip install '.[onnx]'` (there is none for Alpine and for Intel Macs)"
            ) from error
        self._np, self._ort = np, ort

    def load(self, model: bytes) -> "OnnxSession":
        options = self._ort.SessionOptions()
        options.log_severity_level = _QUIET
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            session = self._ort.InferenceSession(
                model, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own tree hangs under Exception
            raise CannotLoad(f"onnxruntime cannot load the file: {_first_line(error)}") from error
        return OnnxSession(session, len(model), self._np, self._ort)


class OnnxSession:
    def __init__(self, session: Any, size: int, np: Any, ort: Any) -> None:  # noqa: ANN401 - untyped
        self._np, self._ort = np, ort
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self.memory = 2 * size + (1 << 20)
        # NumPy has no BF16; only onnxruntime's own values can hold it, and they hold no texts.
        self._own = any(spec.datatype == "BF16" for spec in (*self.inputs, *self.outputs))
        self._run = session.run_with_ort_values if self._own else session.run

    def run(
        self, inputs: Sequence[Tensor], outputs: Sequence[str], stop: Stop
    ) -> Sequence[Tensor]:
        options = self._ort.RunOptions()
        options.log_severity_level = _QUIET

        def end() -> None:
            options.terminate = True

        stop.when_asked(end)
        feed = {tensor.name: self._fed(tensor) for tensor in inputs}
        wanted = list(outputs) or [spec.name for spec in self.outputs]
        try:
            values = self._run(wanted, feed, options)
        except Exception as error:  # onnxruntime's own tree hangs under Exception
            if stop.asked:
                raise OutOfTime("the model did not end in time and was stopped") from error
            raise CannotRun(_first_line(error)) from error
        kinds = {spec.name: spec.datatype for spec in self.outputs}
        return [
            self._given(name, kinds[name], value)
            for name, value in zip(wanted, values, strict=True)
        ]

    def _fed(self, tensor: Tensor) -> Any:  # noqa: ANN401 - untyped
        """Return an input as the session takes it; bytes that are aligned are not copied."""
        np, value, data = self._np, self._ort.OrtValue, tensor.data
        kind = _NUMPY[tensor.datatype]
        if isinstance(data, Packed):
            array = np.require(np.frombuffer(data.bytes, dtype=kind), requirements="A")
        elif tensor.datatype == "BF16":
            array = self._halves(np.array(data, dtype="<f4"))
        else:
            array = np.array(data, dtype=kind)
        array = array.reshape(tensor.shape)
        if not self._own:
            return array
        if tensor.datatype == "BF16":
            return value.ortvalue_from_numpy_with_onnx_type(array, _ONNX_BF16)
        return value.ortvalue_from_numpy(array)

    def _halves(self, singles: Any) -> Any:  # noqa: ANN401 - untyped
        """Return the upper halves of FP32, rounded to the nearest, of two to the even one.

        What JSON holds is never NaN, which rounding could make an infinity.
        """
        bits = singles.view("<u4")
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")

    def _given(self, name: str, datatype: str, value: Any) -> Tensor:  # noqa: ANN401 - untyped
        if datatype == "BF16":
            shape = tuple(value.shape())
            size = prod(shape) * packing.SIZES[datatype]
            # The value lives on this machine's CPU; there is no other way to its bytes.
            bits = ctypes.string_at(value.data_ptr(), size) if size else b""
            return Tensor(name, datatype, shape, Packed(bits))
        array = value.numpy() if self._own else value
        if datatype == "BYTES":
            return Tensor(name, datatype, tuple(array.shape), array.reshape(-1).tolist())
        packed = Packed(array.astype(_NUMPY[datatype], copy=False).tobytes())
        return Tensor(name, datatype, tuple(array.shape), packed)


def _spec(node: Any) -> TensorSpec:  # noqa: ANN401 - untyped
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise CannotLoad(f"{node.name!r} is of type {node.type}, which cannot be sent as JSON")
    return TensorSpec(
        node.name, datatype, tuple(size if isinstance(size, int) else -1 for size in node.shape)
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
