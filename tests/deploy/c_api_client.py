"""Ask a SavedModel through TensorFlow's C API, as a server in C++ or Go would.

    python c_api_client.py TENSORFLOW_FOLDER SAVED_MODEL < request.json > answer.json

The request is a list of calls {"input", "files" or "pixels", "outputs"}: names of graph
tensors, paths of encoded images or {"shape", "fill"}, and output names. The answer has one
{"error"} or {output name: {"shape", "values"}} for each.
"""

import ctypes
import json
import sys
from pathlib import Path

POINTER = ctypes.c_void_p
SIZE = ctypes.c_size_t
TF_FLOAT, TF_UINT8, TF_STRING = 1, 4, 7  # tensorflow/c/tf_datatype.h
TSTRING_BYTES = 24  # sizeof(TF_TString), tensorflow/core/platform/ctstring_internal.h


class Output(ctypes.Structure):
    """One output of an operation (TF_Output)."""

    _fields_ = (("operation", POINTER), ("index", ctypes.c_int))


class Library:
    """The functions that are needed, with their types (tensorflow/c/c_api.h)."""

    SIGNATURES = {  # noqa: RUF012
        "TF_Version": (ctypes.c_char_p, ()),
        "TF_NewStatus": (POINTER, ()),
        "TF_GetCode": (ctypes.c_int, (POINTER,)),
        "TF_Message": (ctypes.c_char_p, (POINTER,)),
        "TF_NewGraph": (POINTER, ()),
        "TF_NewSessionOptions": (POINTER, ()),
        "TF_LoadSessionFromSavedModel": (
            POINTER,
            (POINTER, POINTER, ctypes.c_char_p, POINTER, ctypes.c_int, *[POINTER] * 3),
        ),
        "TF_GraphOperationByName": (POINTER, (POINTER, ctypes.c_char_p)),
        "TF_SessionRun": (
            None,
            # session, options; inputs and their count; outputs and theirs; targets and theirs
            (
                *(POINTER, POINTER),
                *(POINTER, POINTER, ctypes.c_int),
                *(POINTER, POINTER, ctypes.c_int),
                *(POINTER, ctypes.c_int, POINTER, POINTER),
            ),
        ),
        "TF_AllocateTensor": (POINTER, (ctypes.c_int, POINTER, ctypes.c_int, SIZE)),
        "TF_TensorData": (POINTER, (POINTER,)),
        "TF_TensorType": (ctypes.c_int, (POINTER,)),
        "TF_NumDims": (ctypes.c_int, (POINTER,)),
        "TF_Dim": (ctypes.c_int64, (POINTER, ctypes.c_int)),
        "TF_DeleteTensor": (None, (POINTER,)),
        "TF_StringInit": (None, (POINTER,)),
        "TF_StringCopy": (None, (POINTER, ctypes.c_char_p, SIZE)),
        "TF_StringGetDataPointer": (POINTER, (POINTER,)),
        "TF_StringGetSize": (SIZE, (POINTER,)),
    }

    def __init__(self, folder):
        names = ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2")
        libraries = [ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL) for name in names]
        for name, (result, arguments) in self.SIGNATURES.items():
            function = next(getattr(one, name) for one in libraries if hasattr(one, name))
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        self.status = self.TF_NewStatus()

    def check(self):
        if self.TF_GetCode(self.status) != 0:
            raise RuntimeError(self.TF_Message(self.status).decode(errors="replace"))


class Session:
    """A SavedModel, loaded with the tag that TF Serving uses."""

    def __init__(self, library, path):
        self.library, self.graph = library, library.TF_NewGraph()
        tags = (ctypes.c_char_p * 1)(b"serve")
        options = library.TF_NewSessionOptions()
        self.session = library.TF_LoadSessionFromSavedModel(
            options, None, str(path).encode(), tags, 1, self.graph, None, library.status
        )
        library.check()

    def output(self, tensor_name):
        operation, _, index = tensor_name.partition(":")
        found = self.library.TF_GraphOperationByName(self.graph, operation.encode())
        if not found:
            raise RuntimeError(f"no operation {operation!r} in the graph")
        return Output(found, int(index))

    def run(self, input_name, tensor, output_names):
        fed = Output * 1
        fetched = Output * len(output_names)
        results = (POINTER * len(output_names))()
        self.library.TF_SessionRun(
            self.session,
            None,
            fed(self.output(input_name)),
            (POINTER * 1)(tensor),
            1,
            fetched(*map(self.output, output_names)),
            results,
            len(output_names),
            None,
            0,
            None,
            self.library.status,
        )
        self.library.check()
        return list(results)


def allocate(library, dtype, shape, num_bytes):
    dimensions = (ctypes.c_int64 * len(shape))(*shape)
    return library.TF_AllocateTensor(dtype, dimensions, len(shape), num_bytes)


def string_tensor(library, contents):
    tensor = allocate(library, TF_STRING, [len(contents)], TSTRING_BYTES * len(contents))
    start = library.TF_TensorData(tensor)
    for number, content in enumerate(contents):
        library.TF_StringInit(start + number * TSTRING_BYTES)
        library.TF_StringCopy(start + number * TSTRING_BYTES, content, len(content))
    return tensor


def uint8_tensor(library, shape, fill):
    num_bytes = 1
    for size in shape:
        num_bytes *= size
    tensor = allocate(library, TF_UINT8, shape, num_bytes)
    ctypes.memset(library.TF_TensorData(tensor), fill, num_bytes)
    return tensor


def read(library, tensor):
    shape = [library.TF_Dim(tensor, axis) for axis in range(library.TF_NumDims(tensor))]
    count = 1
    for size in shape:
        count *= size
    start = library.TF_TensorData(tensor)
    if library.TF_TensorType(tensor) == TF_FLOAT:
        values = list((ctypes.c_float * count).from_address(start))
    else:
        strings = [start + number * TSTRING_BYTES for number in range(count)]
        values = [
            ctypes.string_at(
                library.TF_StringGetDataPointer(one), library.TF_StringGetSize(one)
            ).decode()
            for one in strings
        ]
    library.TF_DeleteTensor(tensor)
    return {"shape": shape, "values": values}


def answer(library, session, call):
    if "files" in call:
        tensor = string_tensor(library, [Path(name).read_bytes() for name in call["files"]])
    else:
        tensor = uint8_tensor(library, call["pixels"]["shape"], call["pixels"]["fill"])
    try:
        results = session.run(call["input"], tensor, list(call["outputs"].values()))
    except RuntimeError as error:
        return {"error": str(error)}
    return {
        name: read(library, result) for name, result in zip(call["outputs"], results, strict=True)
    }


def main():
    library = Library(Path(sys.argv[1]))
    session = Session(library, sys.argv[2])
    answers = [answer(library, session, call) for call in json.load(sys.stdin)]
    imported = sorted({"tensorflow", "keras", "numpy"} & set(sys.modules))
    version = library.TF_Version().decode()
    json.dump({"answers": answers, "imported": imported, "version": version}, sys.stdout)


if __name__ == "__main__":
    main()
