"""ONNX by onnxruntime, from bytes: external data is refused by construction."""

from collections.abc import Sequence
from typing import Any, Final

from headway.runner.ports import CannotLoad, CannotRun, OutOfTime, Stop, Tensor, TensorSpec

_QUIET: Final = 4
"""Only fatal errors on stderr; a model that fails tells its caller."""

_DATATYPES: Final = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(float16)": "FP16",
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
    **{
        f"tensor({u}int{bits})": f"{u.upper()}INT{bits}"
        for u in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
_NUMPY: Final = {
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BOOL": "bool",
    "BYTES": "object",
    **{f"{u.upper()}INT{bits}": f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)},
}


class OnnxRuntime:
    def __init__(self) -> None:
        try:
            import numpy as np  # noqa: PLC0415 - an extra, imported where it is first needed
            import onnxruntime as ort  # noqa: PLC0415
        except ImportError as error:
            raise CannotLoad(
                "models in ONNX need the extra: pip install 'headway[onnx]' "
                "(there is none for Alpine and for Intel Macs)"
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
        self._session, self._np, self._ort = session, np, ort
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self.memory = 2 * size + (1 << 20)

    def run(
        self, inputs: Sequence[Tensor], outputs: Sequence[str], stop: Stop
    ) -> Sequence[Tensor]:
        options = self._ort.RunOptions()
        options.log_severity_level = _QUIET

        def end() -> None:
            options.terminate = True

        stop.when_asked(end)
        feed = {
            tensor.name: self._np.array(tensor.data, dtype=_NUMPY[tensor.datatype]).reshape(
                tensor.shape
            )
            for tensor in inputs
        }
        wanted = list(outputs) or [spec.name for spec in self.outputs]
        try:
            values = self._session.run(wanted, feed, options)
        except Exception as error:  # onnxruntime's own tree hangs under Exception
            if stop.asked:
                raise OutOfTime("the model did not end in time and was stopped") from error
            raise CannotRun(_first_line(error)) from error
        kinds = {spec.name: spec.datatype for spec in self.outputs}
        return [
            Tensor(name, kinds[name], tuple(value.shape), value.reshape(-1).tolist())
            for name, value in zip(wanted, values, strict=True)
        ]


def _spec(node: Any) -> TensorSpec:  # noqa: ANN401 - untyped
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise CannotLoad(f"{node.name!r} is of type {node.type}, which cannot be sent as JSON")
    return TensorSpec(
        node.name, datatype, tuple(size if isinstance(size, int) else -1 for size in node.shape)
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
