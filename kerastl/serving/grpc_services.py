"""TF Serving's gRPC services, by its own messages: PredictionService and ModelService."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, NoReturn

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import any_pb2
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from kerastl.serving.limits import RefusedError, require_small_images
from kerastl.serving.measures import Measures
from kerastl.serving.micro_batches import MicroBatches, OverloadedError
from kerastl.serving.model_versions import ModelVersions, NotServedError
from kerastl.serving.rest import error_words
from kerastl.serving.servable import CLASSIFY_SIGNATURE, DEFAULT_SIGNATURE, Servable
from kerastl.serving.tensor_json import RequestError, TooLargeError

logger = logging.getLogger(__name__)

_DATA_TYPES = frozenset(types_pb2.DataType.values())


class _Counted:
    """What both services share: errors become codes, and all is counted."""

    def __init__(self, versions: ModelVersions, measures: Measures) -> None:
        self._versions, self._measures = versions, measures

    async def _guarded(self, context: Any, method: str, answer: Callable[[], Any]) -> Any:
        """Return the answer, or end the call with a code."""
        started, code = time.perf_counter(), grpc.StatusCode.OK
        try:
            return await answer()
        except NotServedError as error:
            code, words = grpc.StatusCode.NOT_FOUND, str(error)
        except (RequestError, TooLargeError, RefusedError) as error:
            code, words = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except OverloadedError as error:
            code, words = grpc.StatusCode.UNAVAILABLE, f"The server is overloaded: {error}."
        except TimeoutError:
            code, words = grpc.StatusCode.DEADLINE_EXCEEDED, "No answer in time."
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            code, words = grpc.StatusCode.INVALID_ARGUMENT, error_words(error)
        except tf.errors.ResourceExhaustedError as error:
            code, words = grpc.StatusCode.UNAVAILABLE, error_words(error)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            logger.exception("A call failed; this is a fault of kerastl's.")
            code, words = grpc.StatusCode.INTERNAL, "The server failed; its log says how."
        finally:
            seconds = time.perf_counter() - started
            self._measures.count_request("grpc", method, code.name, seconds)
        await _abort(context, code, words)

    def _servable(self, spec: Any) -> Servable:
        """Return whom a request names."""
        if spec.HasField("version_label"):
            # TF Serving's words where none are configured; to ignore it would be another version.
            raise RequestError(f"Unrecognized servable version label: {spec.version_label}")
        version = spec.version.value if spec.HasField("version") else None
        return self._versions.find(spec.name, version)


async def _abort(context: Any, code: grpc.StatusCode, words: str) -> NoReturn:
    await context.abort(code, words)
    raise AssertionError  # abort raises


class PredictionService(_Counted, prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify and GetModelMetadata.

    Args:
        versions: The model.
        batches: Where requests wait.
        measures: Counts them.
        timeout_seconds: In which an answer must have been found.
    """

    def __init__(
        self,
        versions: ModelVersions,
        batches: MicroBatches,
        measures: Measures,
        *,
        timeout_seconds: float,
    ) -> None:
        super().__init__(versions, measures)
        self._batches, self._timeout_seconds = batches, timeout_seconds

    async def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802 (its protocol's name)
        """Answer one batch of any signature."""
        return await self._guarded(context, "predict", lambda: self._predict(request))

    async def Classify(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer examples with labels and scores."""
        return await self._guarded(context, "classify", lambda: self._classify(request))

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Tell the signatures."""
        return await self._guarded(context, "metadata", lambda: self._metadata(request))

    async def _predict(self, request: Any) -> Any:
        servable = self._servable(request.model_spec)
        signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if signature not in servable.signatures:
            raise RequestError(f'Serving signature key "{signature}" not found.')
        name, dtype, rank = servable.input_of(signature)
        if set(request.inputs) != {name}:
            raise RequestError(
                "input size does not match signature: "
                f"expected {name!r}; received {sorted(request.inputs)[:5]}"
            )
        tensor, size = request.inputs[name], servable.image_size

        def read() -> NDArray[Any]:
            found = _array(tensor, name=name, dtype=dtype, rank=rank)
            require_small_images(found, signature, image_size=size)
            return found

        values = await asyncio.to_thread(read)
        outputs = servable.signatures[signature].outputs
        wanted = list(request.output_filter) or list(outputs)
        if unknown := [one for one in wanted if one not in outputs]:
            raise RequestError(f"output tensor alias not found in signature: {unknown[0]}")
        async with asyncio.timeout(self._timeout_seconds):
            answers = await self._batches.answer(servable, signature, values)
        response = predict_pb2.PredictResponse()
        self._fill(response.model_spec, servable, signature)
        for one in wanted:
            response.outputs[one].CopyFrom(tf.make_tensor_proto(answers[one]))
        return response

    async def _classify(self, request: Any) -> Any:
        servable = self._servable(request.model_spec)
        signature = request.model_spec.signature_name or CLASSIFY_SIGNATURE
        if signature != CLASSIFY_SIGNATURE or signature not in servable.signatures:
            raise RequestError(f'Classify takes the signature "{CLASSIFY_SIGNATURE}".')
        answers_with_context = request.input.WhichOneof("kind") == "example_list_with_context"
        given = (
            request.input.example_list_with_context
            if answers_with_context
            else request.input.example_list
        )
        examples = np.empty(len(given.examples), object)
        for place, example in enumerate(given.examples):
            one = tf.train.Example()
            if answers_with_context:
                one.MergeFrom(given.context)
            one.MergeFrom(example)
            examples[place] = one.SerializeToString()
        if not len(examples):
            raise RequestError("Input is empty.")
        await asyncio.to_thread(
            require_small_images, examples, signature, image_size=servable.image_size
        )
        async with asyncio.timeout(self._timeout_seconds):
            answers = await self._batches.answer(servable, signature, examples)
        if errors := [error.decode() for error in answers["error"] if error]:
            raise RequestError(errors[0])
        response = classification_pb2.ClassificationResponse()
        self._fill(response.model_spec, servable, signature)
        for labels, scores in zip(answers["classes"], answers["scores"], strict=True):
            found = response.result.classifications.add()
            for label, score in zip(labels, scores, strict=True):
                found.classes.add(label=label.decode(), score=float(score))
        return response

    async def _metadata(self, request: Any) -> Any:
        servable = self._servable(request.model_spec)
        if list(request.metadata_field) != ["signature_def"]:
            raise RequestError("Metadata field signature_def is the only one that there is.")
        shown = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in servable.signatures.items():
            shown.signature_def[name].CopyFrom(signature)
        packed = any_pb2.Any()
        packed.Pack(shown)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        self._fill(response.model_spec, servable, "")
        response.metadata["signature_def"].CopyFrom(packed)
        return response

    def _fill(self, spec: Any, servable: Servable, signature: str) -> None:
        """Say who answered."""
        spec.name, spec.signature_name = self._versions.name, signature
        spec.version.value = servable.version


class ModelService(_Counted, model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus.

    Args:
        versions: The model.
        measures: Counts calls.
    """

    async def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Tell which version is there."""
        return await self._guarded(context, "status", lambda: self._status(request))

    async def _status(self, request: Any) -> Any:
        servable = self._servable(request.model_spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        state = response.model_version_status.add(version=servable.version)
        state.state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        return response


def _array(tensor: Any, *, name: str, dtype: tf.DType, rank: int) -> NDArray[Any]:
    """Return the tensor of a request, if it is what the signature takes."""
    if tensor.dtype != dtype.as_datatype_enum:
        kind = types_pb2.DataType.Name(tensor.dtype) if tensor.dtype in _DATA_TYPES else "none"
        raise RequestError(f"input {name!r} must be {dtype.name}; received {kind}")
    dims = [dim.size for dim in tensor.tensor_shape.dim]
    # A short message may claim a shape that no memory holds: its values are repeated then.
    count = int(np.prod(dims, dtype=object)) if all(size >= 0 for size in dims) else -1
    given = len(tensor.string_val) if dtype == tf.string else len(tensor.tensor_content)
    if len(dims) != rank or count < 0 or count > max(given, len(tensor.int_val)):
        raise RequestError(
            f"input {name!r} must have {rank} axes and a value for each place; received shape "
            f"{dims[:5]}"
        )
    try:
        values = tf.make_ndarray(tensor)
    except (ValueError, TypeError, OverflowError) as error:
        raise RequestError(f"input {name!r} cannot be read: {error}") from None
    return np.asarray(values)
