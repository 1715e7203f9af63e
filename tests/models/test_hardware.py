"""A machine is made for bfloat16 when it says so and its convolution is faster too."""

import pytest
import tensorflow as tf

from kerastl.models import hardware
from kerastl.models.hardware import (
    bfloat16_is_fast,
    convolution_speedup,
    cpu_bfloat16_instructions,
    gpus_are_made_for_bfloat16,
)


@pytest.fixture
def fit_cpu(monkeypatch):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    monkeypatch.setattr(hardware, "cpu_bfloat16_instructions", lambda: "avx512_bf16")
    monkeypatch.setattr(hardware, "convolution_speedup", lambda: 2.0)
    return monkeypatch


@pytest.mark.parametrize(
    ("cpuinfo", "instructions"),
    [
        ("processor : 0\nflags\t\t: fpu avx512f avx512_bf16 amx_tile amx_bf16\n", "amx_bf16"),
        ("flags : avx512f avx512_bf16 clzero", "avx512_bf16"),
        ("Features\t: fp asimd sve bf16 i8mm", "bf16"),
        ("flags : avx512f avx512_vnni", None),
        ("model name : pretends bf16\nflags : avx2", None),
        ("", None),
    ],
)
def test_instructions(cpuinfo, instructions):
    assert cpu_bfloat16_instructions(cpuinfo) == instructions


def test_only_linux_is_asked(monkeypatch):
    monkeypatch.setattr(hardware.platform, "system", lambda: "Darwin")
    assert cpu_bfloat16_instructions() is None


def test_a_fit_cpu(fit_cpu):
    assert bfloat16_is_fast()


def test_without_onednn(fit_cpu):
    fit_cpu.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert not bfloat16_is_fast()


def test_instructions_that_are_missing_or_slow(fit_cpu):
    fit_cpu.setattr(hardware, "convolution_speedup", lambda: 1.1)
    assert not bfloat16_is_fast()
    fit_cpu.setattr(hardware, "convolution_speedup", lambda: 2.0)
    fit_cpu.setattr(hardware, "cpu_bfloat16_instructions", lambda: None)
    assert not bfloat16_is_fast()


def test_the_convolution_is_measured_once():
    speedup = convolution_speedup()
    assert 0 <= speedup < 20
    assert convolution_speedup() == speedup


def test_a_tensorflow_that_cannot_convolve_it(monkeypatch):
    def refuse(*operands):
        raise tf.errors.AbortedError(None, None, "could not create a primitive descriptor")

    monkeypatch.setattr(tf.nn, "conv2d", refuse)
    assert convolution_speedup.__wrapped__() == 0


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [([], False), ([(9, 0)], True), ([(8, 0), (7, 5)], False), ([None], False)],
)
def test_gpus_by_their_capability(monkeypatch, capabilities, fast):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: capabilities)
    monkeypatch.setattr(
        tf.config.experimental,
        "get_device_details",
        lambda gpu: {} if gpu is None else {"compute_capability": gpu},
    )
    assert gpus_are_made_for_bfloat16() == fast
    if capabilities:
        assert bfloat16_is_fast() == fast
