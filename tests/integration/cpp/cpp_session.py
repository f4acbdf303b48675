"""Answers requests with TensorFlow's C++ runtime alone; its own process, without `tensorflow`.

    python cpp_session.py LIBTENSORFLOW_CC PLAN ANSWERS

`TF_LoadSessionFromSavedModel` is the C API's name for `tensorflow::LoadSavedModel`, the function
that TensorFlow Serving loads a version with, and `TF_SessionRun` that of `Session::Run`. Called
through ctypes they need no compiler. PLAN is a JSON object:

    {"version": directory, "op_libraries": [path], "requests": [{"inputs":
        {tensor: {"dtype": number, "shape": [...], "values": [...]}}, "outputs": [tensor]}]}

ANSWERS becomes a list with an object for each request: tensors of the same form, by name. Values
are flat lists; strings are bytes in Latin-1.
"""

import ctypes
import json
import math
import sys
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_void_p

STRING, TSTRING_BYTES = 7, 24
NUMBERS = {1: ctypes.c_float, 9: ctypes.c_int64}


class Output(ctypes.Structure):
    """`TF_Output`."""

    _fields_ = [("operation", c_void_p), ("index", c_int)]


RESULTS = {
    "TF_LoadLibrary": c_void_p,
    "TF_NewStatus": c_void_p,
    "TF_GetCode": c_int,
    "TF_Message": c_char_p,
    "TF_NewGraph": c_void_p,
    "TF_NewSessionOptions": c_void_p,
    "TF_LoadSessionFromSavedModel": c_void_p,
    "TF_GraphOperationByName": c_void_p,
    "TF_AllocateTensor": c_void_p,
    "TF_TensorData": c_void_p,
    "TF_TensorType": c_int,
    "TF_NumDims": c_int,
    "TF_Dim": c_int64,
    "TF_DeleteTensor": None,
    "TF_SessionRun": None,
    "TF_StringInit": None,
    "TF_StringCopy": None,
    "TF_StringGetDataPointer": c_void_p,
    "TF_StringGetSize": c_size_t,
}


class Session:
    """A SavedModel in memory."""

    def __init__(self, library, version, op_libraries):
        self.tf = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        for name, result in RESULTS.items():
            getattr(self.tf, name).restype = result
        self.status = c_void_p(self.tf.TF_NewStatus())
        for path in op_libraries:
            self.tf.TF_LoadLibrary(path.encode(), self.status)
            self.check(path)
        self.graph = c_void_p(self.tf.TF_NewGraph())
        options = c_void_p(self.tf.TF_NewSessionOptions())
        tags = (c_char_p * 1)(b"serve")
        self.session = c_void_p(
            self.tf.TF_LoadSessionFromSavedModel(
                *(options, None, version.encode(), tags, 1, self.graph, None, self.status)
            )
        )
        self.check("LoadSavedModel")

    def run(self, inputs, outputs):
        feeds = (Output * len(inputs))(*map(self.output, inputs))
        tensors = (c_void_p * len(inputs))(*(self.tensor(**one) for one in inputs.values()))
        fetches = (Output * len(outputs))(*map(self.output, outputs))
        found = (c_void_p * len(outputs))()
        self.tf.TF_SessionRun(
            *(self.session, None, feeds, tensors, len(inputs), fetches, found, len(outputs)),
            *(None, 0, None, self.status),
        )
        self.check("Run")
        answer = {
            name: self.content(c_void_p(one)) for name, one in zip(outputs, found, strict=True)
        }
        for one in (*tensors, *found):
            self.tf.TF_DeleteTensor(c_void_p(one))
        return answer

    def check(self, where):
        if self.tf.TF_GetCode(self.status):
            sys.exit(f"{where}: {self.tf.TF_Message(self.status).decode()}")

    def output(self, name):
        operation, _, index = name.partition(":")
        found = self.tf.TF_GraphOperationByName(self.graph, operation.encode())
        if not found:
            sys.exit(f"there is no operation '{operation}'")
        return Output(found, int(index))

    def tensor(self, dtype, shape, values):
        size = TSTRING_BYTES if dtype == STRING else ctypes.sizeof(NUMBERS[dtype])
        dims = (c_int64 * len(shape))(*shape)
        made = self.tf.TF_AllocateTensor(dtype, dims, len(shape), c_size_t(size * len(values)))
        data = self.tf.TF_TensorData(c_void_p(made))
        if dtype != STRING:
            (NUMBERS[dtype] * len(values)).from_address(data)[:] = values
            return made
        for place, text in enumerate(values):
            at, content = c_void_p(data + TSTRING_BYTES * place), text.encode("latin-1")
            self.tf.TF_StringInit(at)
            self.tf.TF_StringCopy(at, content, c_size_t(len(content)))
        return made

    def content(self, tensor):
        dtype = self.tf.TF_TensorType(tensor)
        shape = [self.tf.TF_Dim(tensor, axis) for axis in range(self.tf.TF_NumDims(tensor))]
        count, data = math.prod(shape), self.tf.TF_TensorData(tensor)
        if dtype == STRING:
            values = [self.text(data + TSTRING_BYTES * place) for place in range(count)]
        else:
            values = list((NUMBERS[dtype] * count).from_address(data))
        return {"dtype": dtype, "shape": shape, "values": values}

    def text(self, address):
        at = c_void_p(address)
        start, size = self.tf.TF_StringGetDataPointer(at), self.tf.TF_StringGetSize(at)
        return ctypes.string_at(start, size).decode("latin-1")


if __name__ == "__main__":
    library, plan_path, answers_path = sys.argv[1:]
    with open(plan_path, encoding="utf-8") as stream:
        plan = json.load(stream)
    session = Session(library, plan["version"], plan["op_libraries"])
    answers = [session.run(**request) for request in plan["requests"]]
    with open(answers_path, "w", encoding="utf-8") as stream:
        json.dump(answers, stream)
