"""`kerastl.serve` as clients find it: TF Serving's REST and gRPC, limits, and an orderly end."""

import base64
import concurrent.futures
import contextlib
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from kerastl.deploy.served_model import load_savedmodel

# A real TF Serving, if there is one: http://HOST:8501/v1/models/NAME of an export of kerastl's.
TFS_URL = os.environ.get("KERASTL_TFS_URL")


class Server:
    """A server in a process of its own."""

    def __init__(self, path, *options):
        command = [sys.executable, "-m", "kerastl.serve", str(path), "--rest-port", "0"]
        self.process = subprocess.Popen(
            [*command, "--grpc-port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines = [self.process.stdout.readline() for _ in range(3)]
        assert lines[0], self.process.stderr.read()
        self.url = re.search(r"http://\S+", lines[0])[0]
        self.port = int(self.url.rpartition(":")[2])
        self.grpc = lines[2].split()[-1]

    def ask(self, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = body if body is None or isinstance(body, bytes) else json.dumps(body)
        with contextlib.closing(connection):
            connection.request("GET" if body is None else "POST", path, content, headers)
            response = connection.getresponse()
            text = response.read()
        is_json = response.getheader("content-type") == "application/json"
        return response.status, json.loads(text) if is_json else text

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out + err


@pytest.fixture(scope="module")
def server(exported):
    server = Server(
        exported.path.parent,
        "--max-request-mib",
        "1",
        "--timeout-seconds",
        "4",
        "--max-queued",
        "40",
    )
    yield server
    code, words = server.stop()
    assert code == 0, words
    assert "Traceback" not in words
    assert "fault of kerastl" not in words


@pytest.fixture(scope="module")
def expected(exported, classifier):
    return load_savedmodel(exported.path).predict(classifier.held_out)


def b64(content):
    return {"b64": base64.b64encode(content).decode()}


MODEL = "/v1/models/photos"


def assert_answers(predictions, expected, rows=slice(None)):
    classes, scores = (part[rows] for part in expected)
    assert [one["classes"] for one in predictions] == classes.tolist()
    np.testing.assert_allclose([one["scores"] for one in predictions], scores, atol=1e-6)
    assert {one["error"] for one in predictions} == {""}


def test_rows_and_columns_bare_and_by_name(server, classifier, expected):
    images = [b64(content) for content in classifier.held_out]
    for path in (MODEL, f"{MODEL}/versions/1"):
        status, answer = server.ask(f"{path}:predict", {"instances": images})
        assert status == 200
        assert_answers(answer["predictions"], expected)
    named = [{"image_bytes": image} for image in images]
    _, answer = server.ask(f"{MODEL}:predict", {"instances": named})
    assert_answers(answer["predictions"], expected)
    for inputs in (images, {"image_bytes": images}):
        body = {"signature_name": "serving_default", "inputs": inputs}
        status, answer = server.ask(f"{MODEL}:predict", body)
        assert status == 200
        columns = answer["outputs"]
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        assert_answers(rows, expected)
    _, answer = server.ask(f"{MODEL}:predict", {"instances": []})
    assert answer == {"predictions": []}


def test_pixels_and_features(server, classifier, exported):
    pixels = np.asarray(Image.open(io.BytesIO(classifier.held_out[0])).convert("RGB"))
    body = {"signature_name": "pixels", "instances": [pixels.tolist()]}
    status, answer = server.ask(f"{MODEL}:predict", body)
    assert status == 200
    expected = load_savedmodel(exported.path).functions["pixels"](pixels=tf.constant(pixels[None]))
    scores = expected["scores"].numpy()[0]
    np.testing.assert_allclose(answer["predictions"][0]["scores"], scores, atol=1e-6)
    body = {"signature_name": "features", "instances": [b64(classifier.held_out[0])]}
    _, answer = server.ask(f"{MODEL}:predict", body)
    assert len(answer["predictions"][0]["features"]) == 8


def test_an_unreadable_image_fails_no_other(server, classifier, expected):
    images = [b64(b"no image"), b64(classifier.held_out[0])]
    status, answer = server.ask(f"{MODEL}:predict", {"instances": images})
    assert status == 200
    assert answer["predictions"][0]["error"].startswith("unknown image file format")
    assert_answers(answer["predictions"][1:], expected, slice(0, 1))


def test_classify(server, classifier, expected):
    example = {"image/encoded": b64(classifier.held_out[1]), "width": 3, "weights": [0.5, 1]}
    body = {"examples": [example], "context": {"place": "here"}}
    status, answer = server.ask(f"{MODEL}:classify", body)
    assert status == 200
    ((pairs,),) = [answer["results"]]
    assert [label for label, _ in pairs] == expected[0][1].tolist()
    np.testing.assert_allclose([score for _, score in pairs], expected[1][1], atol=1e-6)


def test_status_and_metadata(server):
    status, answer = server.ask(MODEL)
    assert status == 200
    (state,) = answer["model_version_status"]
    assert state == {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    status, answer = server.ask(f"{MODEL}/metadata")
    assert answer["model_spec"] == {"name": "photos", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "pixels", "features", "tf_example"}
    (fed,) = signatures["serving_default"]["inputs"].values()
    assert fed["dtype"] == "DT_STRING"
    assert fed["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}


# Path, body, status, and what the error says: as TF Serving's documentation has them.
MISTAKES = [
    (
        "/v1/models/cats:predict",
        {"instances": []},
        404,
        "Servable not found for request: Latest\\(cats\\)",
    ),
    (f"{MODEL}/versions/7:predict", {"instances": []}, 404, r"Specific\(photos, 7\)"),
    (f"{MODEL}/versions/7", None, 404, r"Specific\(photos, 7\)"),
    (f"{MODEL}/versions/x", None, 400, "Malformed request: GET"),
    (f"{MODEL}/versions/{'9' * 400}", None, 404, "Servable not found"),
    (f"{MODEL}:regress", {"examples": []}, 400, "Malformed request: POST"),
    (f"{MODEL}:predict", b"{", 400, "JSON Parse error"),
    (f"{MODEL}:predict", b"", 400, "JSON Parse error"),
    (f"{MODEL}:predict", b"[1]", 400, "must be an object"),
    (f"{MODEL}:predict", b"[" * 100_000, 400, "JSON Parse error"),
    (f"{MODEL}:predict", b'{"instances": [NaN]}', 400, "JSON Parse error"),
    (f"{MODEL}:predict", b'\xff\xfe{"instances": []}', 400, "JSON Parse error"),
    (f"{MODEL}:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
    (f"{MODEL}:predict", {"instances": [], "inputs": []}, 400, "Only one of the keys"),
    (f"{MODEL}:predict", {"instances": 5}, 400, "must be a list; received a number"),
    (f"{MODEL}:predict", {"instances": [5]}, 400, "received a number"),
    (f"{MODEL}:predict", {"instances": [None]}, 400, "received null"),
    (f"{MODEL}:predict", {"instances": [[["a"]]]}, 400, "received a list"),
    (f"{MODEL}:predict", {"instances": [{"b64": "?"}]}, 400, "b64 is no base64"),
    (f"{MODEL}:predict", {"instances": [{"b64": 5}]}, 400, 'takes text or {"b64": "..."}'),
    (f"{MODEL}:predict", {"instances": [{"image": "a"}]}, 400, r"one input, 'image_bytes'"),
    (f"{MODEL}:predict", {"inputs": {"image": ["a"]}}, 400, r"one input, 'image_bytes'"),
    (f"{MODEL}:predict", {"inputs": 7}, 400, "must be a list"),
    (f"{MODEL}:predict", {"signature_name": "x", "instances": []}, 400, 'name: "x" not found'),
    (f"{MODEL}:predict", {"signature_name": ["x"], "instances": []}, 400, "not found in signature"),
    (
        f"{MODEL}:predict",
        {"signature_name": "pixels", "instances": [[[[1, 2, 300]]]]},
        400,
        "0 to 255",
    ),
    (
        f"{MODEL}:predict",
        {"signature_name": "pixels", "instances": [[[[0.5, 1, 2]]]]},
        400,
        "whole numbers",
    ),
    (
        f"{MODEL}:predict",
        {"signature_name": "pixels", "instances": [[[[1]], [[1, 2]]]]},
        400,
        "different lengths",
    ),
    (f"{MODEL}:predict", {"signature_name": "pixels", "instances": [[[[1] * 7]]]}, 400, "."),
    (f"{MODEL}:predict", {"signature_name": "pixels", "instances": [[[[10**30] * 3]]]}, 400, "."),
    (f"{MODEL}:predict", {"signature_name": "pixels", "instances": [[]]}, 400, "axes"),
    (
        f"{MODEL}:predict",
        {"signature_name": "pixels", "instances": ["x" * 10**5] + ["a"] * 30},
        400,
        "axes",
    ),
    (
        f"{MODEL}:predict",
        {"signature_name": "pixels", "instances": [[[[1, True, 3]]]]},
        400,
        "whole",
    ),
    (f"{MODEL}:predict", {"instances": [[]] * 10**5}, 413, "40 images at most; received 100000"),
    (f"{MODEL}:predict", {"inputs": [[]] * 10**5}, 413, "40 images at most"),
    (f"{MODEL}:classify", {"examples": [{}] * 41}, 413, "40 images at most"),
    (f"{MODEL}:classify", {}, 400, "Missing 'examples' list"),
    (f"{MODEL}:classify", {"examples": [5]}, 400, "an example must be an object"),
    (f"{MODEL}:classify", {"examples": [{"image/encoded": {"x": 1}}]}, 400, "must be text, bytes"),
    (f"{MODEL}:classify", {"examples": [{}]}, 400, "no tf.train.Example with an image"),
    (f"{MODEL}:classify", {"signature_name": "pixels", "examples": []}, 400, "Classify takes"),
    ("/v1/models/..%2f..%2fetc%2fpasswd", None, 404, "Servable not found|Malformed|Not found"),
    ("/v1/models/../../../etc/passwd", None, 404, "Not found"),
    ("/page.js/../../../setup.cfg", None, 404, "Not found"),
    ("/%2e%2e/%2e%2e/etc/passwd", None, 404, "Not found"),
    ("/evidence", b"no image", 400, "This picture cannot be read"),
    ("/evidence?class=unicorn", b"no image", 400, "cannot be read"),
    ("/healthz", b"", 405, "POST is not what /healthz takes"),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), MISTAKES)
def test_mistakes_are_named(server, path, body, status, words):
    found, answer = server.ask(path, body)
    if status == 404 and found == 400:  # both are right for a path that means nothing
        words = "Malformed"
    else:
        assert found == status, answer
    assert re.search(words, answer["error"]), answer["error"]
    assert "\n" not in answer["error"]


def test_evidence_is_a_picture_of_the_networks_size(server, classifier):
    for query in ("", "?class=cat"):
        status, content = server.ask(f"/evidence{query}", classifier.held_out[0])
        assert status == 200
        picture = np.asarray(Image.open(io.BytesIO(content)))
        assert picture.shape == (32, 24, 3)
    status, answer = server.ask("/evidence?class=unicorn", classifier.held_out[0])
    assert (status, answer["error"]) == (400, "there is no class 'unicorn'")


def test_health_metrics_and_the_page(server, classifier):
    assert server.ask("/healthz") == (200, {"status": "ok"})
    server.ask(f"{MODEL}:predict", {"instances": [b64(classifier.held_out[0])]})
    for path in ("/metrics", "/monitoring/prometheus/metrics"):
        text = server.ask(path)[1].decode()
        assert re.search(r'kerastl_requests_total{.*method="predict".*} \d', text)
        assert re.search(r"kerastl_batch_images_count [1-9]", text)
        assert "kerastl_queued_images 0.0" in text
    for path, kind in (
        ("/", b"<!doctype html>"),
        ("/page.js", b'"use strict"'),
        ("/page.css", b":"),
    ):
        status, text = server.ask(path)
        assert status == 200
        assert text.startswith(kind)
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        policy = connection.getresponse().getheader("content-security-policy")
    assert policy.startswith("default-src 'none'; script-src 'self';")


def test_pages_of_other_sites_cannot_reach_it_under_their_names(server):
    status, text = server.ask("/about.json", Host="evil.example")
    assert (status, text) == (400, b"Invalid host header")
    assert server.ask("/about.json", Host=f"localhost:{server.port}")[0] == 200


def png_bomb():
    """30,000 by 30,000 pixels in 100 KB."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    row = zlib.compressobj(9)
    zeros = b"".join(row.compress(b"\0" * 30_001) for _ in range(3000)) + row.flush()
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zeros) + chunk(b"IEND", b"")


def raw(server, content, *, wait=3.0, close=False):
    """Send bytes, and return what comes back in some seconds."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(content)
        if close:
            return b""
        received = b""
        with contextlib.suppress(OSError):
            while chunk := connection.recv(65536):
                received += chunk
        return received


POST = f"POST {MODEL}:predict HTTP/1.1\r\nHost: localhost\r\n"


def test_a_corpus_of_hostile_requests_leaves_it_serving(server, classifier, expected):
    # Slow ones first: they are looked at again at the end.
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for number, connection in enumerate(slow):
        connection.sendall([b"", b"POST /v1/mod", POST.encode()][number % 3])
    # Answered before their bodies came, of which one byte more follows.
    for target, verb in ((f"{MODEL}:predict", "PUT"), ("/nowhere", "POST"), (MODEL, "GET")):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        words = f"{verb} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
        connection.sendall(words.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 ")
        connection.sendall(b"x")
        slow.append(connection)
    started = time.monotonic()
    status, answer = server.ask(f"{MODEL}:predict", b" " * (2**20 + 1))
    assert (status, "1 MiB at most" in answer["error"]) == (413, True)
    huge = raw(server, f"{POST}Content-Length: 99999999999999999999\r\n\r\n".encode())
    assert huge.split(b" ")[1:2] in ([b"413"], [b"400"])
    body = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    chunked = raw(server, f"{POST}Transfer-Encoding: chunked\r\n\r\n".encode() + 2 * body)
    assert chunked.split(b" ")[1:2] == [b"413"]
    late = raw(server, f"{POST}Content-Length: 100\r\n\r\n{{".encode(), wait=6)
    assert late.startswith(b"HTTP/1.1 408 ")
    gzip = raw(server, f"{POST}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    assert gzip.startswith(b"HTTP/1.1 415 ")
    for content in (
        b"\0" * 5000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"/" * 200_000,
        POST.encode() + b"X: " + b"x" * 200_000,
        POST.encode() + b"Content-Length: -5\r\n\r\n",
        POST.encode() + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        POST.encode() + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n",
    ):
        assert not raw(server, content, wait=0.5).startswith(b"HTTP/1.1 200")
        raw(server, content, close=True)
    # Gone in the middle of a body, and before the answer.
    for _ in range(10):
        raw(server, f"{POST}Content-Length: 1000\r\n\r\n{{".encode(), close=True)
        whole = json.dumps({"instances": [b64(classifier.held_out[0])]}).encode()
        raw(server, f"{POST}Content-Length: {len(whole)}\r\n\r\n".encode() + whole, close=True)
    jpeg = io.BytesIO()
    Image.new("RGB", (300, 300)).save(jpeg, "JPEG")
    flat = io.BytesIO()
    Image.new("L", (13_000, 13_000)).save(flat, "PNG")  # 164 KB
    for key, verb in (("instances", "predict"), ("examples", "classify")):
        rows = [
            b64(flat.getvalue()) if verb == "predict" else {"image/encoded": b64(flat.getvalue())}
        ]
        status, answer = server.ask(f"{MODEL}:{verb}", {key: rows})
        assert (status, "169 megapixels" in answer["error"]) == (413, True)
    status, answer = server.ask(f"{MODEL}:predict", {"instances": [b64(png_bomb())]})
    assert (status, "megapixels" in answer["error"]) == (413, True)
    bad = [
        jpeg.getvalue()[:200],
        jpeg.getvalue()[:300],
        b"GIF89a",
        b"RIFF\0\0\0\0WEBP",
        b"BM" + b"\xff" * 60,
    ]
    images = [b64(content) for content in [*bad, classifier.held_out[0]]]
    status, answer = server.ask(f"{MODEL}:predict", {"instances": images})
    assert status == 200
    assert [bool(one["error"]) for one in answer["predictions"]] == [True] * 5 + [False]
    for content in (png_bomb(), flat.getvalue()):
        assert server.ask("/evidence", content)[0] == 413
    # It still answers, and as before.
    status, answer = server.ask(f"{MODEL}:predict", {"instances": images[-1:]})
    assert_answers(answer["predictions"], expected, slice(0, 1))
    # Connections on which no request came are closed.
    for connection in slow:
        connection.settimeout(max(15 - (time.monotonic() - started), 1))
        with contextlib.suppress(ConnectionError):
            while connection.recv(65536):  # what is left of an answer
                pass
        connection.close()


def test_too_much_at_once_is_told_to_come_again(server, classifier):
    body = {"instances": [b64(classifier.held_out[0])] * 20}
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        found = list(pool.map(lambda _: server.ask(f"{MODEL}:predict", body), range(120)))
    codes = {status for status, _ in found}
    assert codes <= {200, 503}
    assert 503 in codes
    refused = next(answer for status, answer in found if status == 503)
    assert "overloaded" in refused["error"]
    assert all(len(answer["predictions"]) == 20 for status, answer in found if status == 200)
    # More than may ever wait.
    status, answer = server.ask(f"{MODEL}:predict", {"instances": [b64(b"x")] * 41})
    assert status == 413
    assert "40 images at most" in answer["error"]


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


def predict_request(values, *, name="photos", signature="", key="image_bytes", version=None):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    if version is not None:
        request.model_spec.version.value = version
    request.inputs[key].CopyFrom(
        values
        if hasattr(values, "dtype") and not isinstance(values, np.ndarray)
        else tf.make_tensor_proto(values)
    )
    return request


def test_clients_of_tensorflow_serving_api(channel, classifier, expected):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    answer = stub.Predict(predict_request(classifier.held_out))
    classes = tf.make_ndarray(answer.outputs["classes"])
    assert [[one.decode() for one in row] for row in classes] == expected[0].tolist()
    scores = tf.make_ndarray(answer.outputs["scores"])
    np.testing.assert_allclose(scores, expected[1], atol=1e-6)
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("photos", 1)
    assert answer.model_spec.signature_name == "serving_default"
    request = predict_request(classifier.held_out[:2], signature="features", version=1)
    request.output_filter.append("features")
    answer = stub.Predict(request)
    assert list(answer.outputs) == ["features"]
    assert tf.make_ndarray(answer.outputs["features"]).shape == (2, 8)
    pixels = np.full((2, 50, 60, 1), 200, np.uint8)
    answer = stub.Predict(predict_request(pixels, signature="pixels", key="pixels"))
    assert tf.make_ndarray(answer.outputs["scores"]).shape == (2, 4)


def test_classify_metadata_and_status_by_grpc(channel, classifier, expected):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "photos"
    for content in classifier.held_out[:2]:
        example = request.input.example_list.examples.add()
        example.features.feature["image/encoded"].bytes_list.value.append(content)
    found = stub.Classify(request).result.classifications
    labels = [[one.label for one in row.classes] for row in found]
    assert labels == expected[0][:2].tolist()
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "photos"
    shown = get_model_metadata_pb2.SignatureDefMap()
    assert stub.GetModelMetadata(request).metadata["signature_def"].Unpack(shown)
    assert set(shown.signature_def) == {"serving_default", "pixels", "features", "tf_example"}
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "photos"
    states = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request)
    (state,) = states.model_version_status
    assert (state.version, state.state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)


def odd_tensor(dtype, **values):
    """A tensor that TensorFlow would not make."""
    tensor = tf.make_tensor_proto(np.zeros((1, 1, 1, 3), np.uint8))
    tensor.ClearField("tensor_content")
    tensor.dtype = dtype
    tensor.int_val.extend(values.get("int_val", ()))
    return tensor


def labelled_request(label):
    request = predict_request([b"x"])
    request.model_spec.version_label = label
    return request


def lying_tensor():
    """A few bytes that claim to be 10**12 strings."""
    tensor = tf.make_tensor_proto([b"x"])
    tensor.tensor_shape.dim[0].size = 10**12
    return tensor


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (predict_request([b"x"], name="cats"), "NOT_FOUND", r"Latest\(cats\)"),
        (predict_request([b"x"], version=9), "NOT_FOUND", r"Specific\(photos, 9\)"),
        (labelled_request("canary"), "INVALID_ARGUMENT", "version label: canary"),
        (predict_request([b"x"], signature="x"), "INVALID_ARGUMENT", 'key "x" not found'),
        (predict_request([b"x"], key="image"), "INVALID_ARGUMENT", "does not match signature"),
        (predict_request(np.ones(3)), "INVALID_ARGUMENT", "must be string; received DT_DOUBLE"),
        (predict_request([[b"x"]]), "INVALID_ARGUMENT", "1 axes"),
        (predict_request(b"x"), "INVALID_ARGUMENT", "1 axes"),
        (predict_request(lying_tensor()), "INVALID_ARGUMENT", "a value for each place"),
        (predict_request(odd_tensor(0)), "INVALID_ARGUMENT", "must be string; received DT_INVALID"),
        (
            predict_request(odd_tensor(4, int_val=[300] * 3), key="pixels", signature="pixels"),
            "INVALID_ARGUMENT",
            "cannot be read",
        ),
        (predict_request([b"x" * 2**21]), "RESOURCE_EXHAUSTED", "larger than max"),
        (predict_request([b"x"] * 41), "INVALID_ARGUMENT", "40 images at most"),
    ],
)
def test_mistakes_by_grpc(channel, request_, code, words):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    with pytest.raises(grpc.RpcError, match=words) as caught:
        stub.Predict(request_)
    assert caught.value.code().name == code


def test_newer_versions_are_taken_and_broken_ones_are_not(exported, tmp_path, classifier):
    folder = tmp_path / "models" / "fresh"
    shutil.copytree(exported.path, folder / "1")
    server = Server(folder)

    def version():
        (state,) = server.ask("/v1/models/fresh")[1]["model_version_status"]
        return int(state["version"])

    def wait_for(number):
        until = time.monotonic() + 60
        while version() != number:
            assert time.monotonic() < until
            time.sleep(0.2)

    try:
        assert version() == 1
        body = {"instances": [b64(classifier.held_out[0])]}
        before = server.ask("/v1/models/fresh:predict", body)
        # As it looks while it is copied: the graph first, the weights later.
        shutil.copytree(exported.path, folder / "5", ignore=shutil.ignore_patterns("variables"))
        time.sleep(5)
        assert version() == 1
        shutil.copytree(exported.path / "variables", folder / "5" / "variables")
        wait_for(5)
        assert server.ask("/v1/models/fresh:predict", body) == before
        assert server.ask("/v1/models/fresh/versions/1:predict", body)[0] == 404
        shutil.rmtree(folder / "5")  # back to the one before
        wait_for(1)
    finally:
        code, words = server.stop(signal.SIGINT)
    assert code == 0
    assert "Version 5 of fresh is served now" in words
    assert "is not served" in words  # while it was half there


def test_idle_connections_keep_nobody_out(exported, classifier):
    server = Server(exported.path, "--name", "few", "--max-requests", "2")
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(30)]
    try:
        body = {"instances": [b64(classifier.held_out[0])]}
        assert server.ask("/v1/models/few:predict", body)[0] == 200
        # Two that send slowly are two that are being answered.
        for connection in idle[:2]:
            connection.sendall(b"POST /v1/models/few:predict HTTP/1.1\r\nHost: localhost\r\n")
            connection.sendall(b"Content-Length: 9\r\n\r\n")
        time.sleep(0.5)
        status, answer = server.ask("/v1/models/few:predict", body)
        assert (status, "come again" in answer["error"]) == (503, True)
        assert server.ask("/healthz")[0] == 200
    finally:
        for connection in idle:
            connection.close()
        server.stop()


def test_what_was_asked_is_answered_before_the_end(exported, classifier):
    server = Server(exported.path, "--name", "other")
    body = {"instances": [b64(classifier.held_out[0])] * 200}
    with (
        concurrent.futures.ThreadPoolExecutor(1) as pool,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        stub.Predict(predict_request(classifier.held_out[:1], name="other"))
        asked = pool.submit(server.ask, "/v1/models/other:predict", body)
        # Not before it is being answered.
        waiting = re.compile(r"^kerastl_queued_images (\d+)", re.MULTILINE)
        while not asked.done():
            text = server.ask("/metrics")[1].decode()
            if float(waiting.search(text)[1]) > 0:
                break
        assert not asked.done(), "it was answered before anybody could look"
        call = stub.Predict.future(predict_request(classifier.held_out, name="other"))
        time.sleep(0.05)
        code, words = server.stop()
        status, answer = asked.result()
    assert code == 0, words
    assert "fault of kerastl" not in words
    assert status == 200
    assert len(answer["predictions"]) == 200
    assert call.code().name == "OK"
    with pytest.raises(OSError, match="refused"):
        server.ask("/healthz")


def test_what_cannot_be_served(exported, tmp_path):
    def fail(*words):
        command = [sys.executable, "-m", "kerastl.serve", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "has no SavedModel" in fail(tmp_path)
    assert "`rest_port` must be a port" in fail(exported.path, "--rest-port", "70000")
    assert "`max_queued` must be 1 or more" in fail(exported.path, "--max-queued", "0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert "Choose another with --rest-port" in fail(exported.path, "--rest-port", port)
        words = fail(exported.path, "--rest-port", 0, "--grpc-port", port)
        assert "Choose another with --grpc-port" in words
        same = ("--rest-port", port + 1, "--grpc-port", port + 1)
        assert "Choose another with --grpc-port" in fail(exported.path, *same)
    assert "not of this machine" in fail(exported.path, "--host", "192.0.2.1")
    assert "`name` must be the name of one folder" in fail(exported.path, "--name", "a/b")
    assert "`max_request_mib` must be" in fail(exported.path, "--max-request-mib", "2048")


@pytest.mark.parametrize("kind", ["kerastl", "tfs"])
def test_the_contract_that_both_servers_keep(kind, request, classifier):
    """The same questions to `kerastl.serve` and to a real TF Serving, if KERASTL_TFS_URL is set."""
    if kind == "tfs" and not TFS_URL:
        pytest.skip("KERASTL_TFS_URL names no TF Serving")
    url = TFS_URL if kind == "tfs" else request.getfixturevalue("server").url + MODEL

    def ask(suffix, body=None):
        content = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(url + suffix, content, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    (state,) = ask("")[1]["model_version_status"]
    assert state["state"] == "AVAILABLE"
    signatures = ask("/metadata")[1]["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "pixels", "tf_example"} <= set(signatures)
    image, broken = b64(classifier.held_out[0]), b64(b"no image")
    status, rows = ask(":predict", {"instances": [image, broken]})
    assert status == 200
    good, bad = rows["predictions"]
    assert sum(good["scores"]) == pytest.approx(1, abs=1e-4)
    assert good["scores"] == sorted(good["scores"], reverse=True)
    assert good["error"] == ""
    assert bad["error"]
    status, columns = ask(":predict", {"inputs": {"image_bytes": [image]}})
    assert columns["outputs"]["classes"][0] == good["classes"]
    status, found = ask(
        ":classify", {"examples": [{"image/encoded": image}], "signature_name": "tf_example"}
    )
    assert [label for label, _ in found["results"][0]] == good["classes"]
    version = f"/versions/{state['version']}"
    assert ask(f"{version}:predict", {"instances": [image]})[0] == 200
    for suffix, body, code in (
        ("/versions/987654:predict", {"instances": [image]}, 404),
        (":predict", {}, 400),
        (":predict", {"instances": [image], "signature_name": "nowhere"}, 400),
    ):
        status, answer = ask(suffix, body)
        assert status == code
        assert isinstance(answer["error"], str)
