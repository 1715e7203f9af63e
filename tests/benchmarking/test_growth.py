"""Growth: what is run, and that a job in a process of its own tells what it took."""

import sys

import pytest

from kerastl.benchmarking import growth
from kerastl.benchmarking.options import BenchmarkOptions
from kerastl.errors import ConfigError, KerasTLError

TINY = {"backbone": "MobileNet", "image_size": 32, "growth_images": 16}


def test_jobs_grow_by_one_thing():
    options = BenchmarkOptions(image_size=64)
    images, classes, size = (growth.plan_jobs(options, what) for what in growth_names())
    assert [job.images for job in images] == [64, 256, 1024]
    assert [job.classes for job in classes] == [2, 8, 32]
    assert [job.image_size for job in size] == [(32, 32), (64, 64), (128, 128)]
    # The one in the middle is the same, so that it is run once.
    assert images[1] == classes[0] == size[1]


def growth_names():
    return BenchmarkOptions(growth=("all",)).growth


def test_no_image_is_smaller_than_the_network_takes():
    options = BenchmarkOptions(backbone="InceptionV3", image_size=80)
    assert growth.plan_jobs(options, "size")[0].image_size == (75, 75)


def test_every_job_runs_in_turns_and_one_does_not_count(monkeypatch):
    done = []

    def run(job, _options, _place):
        done.append(job.images)
        return 2 + job.images / 10 + len(done) / 1e6, 2**30 + job.images * 2**20

    monkeypatch.setattr(growth, "_run", run)
    monkeypatch.setattr(growth, "_write_images", lambda *_arguments, **_options: None)
    options = BenchmarkOptions(growth=("images",), growth_rounds=2, **TINY)
    (found,) = growth.measure_growth(options)
    assert done == [16, 16, 64, 256, 16, 64, 256]
    assert [len(job.seconds) for job in found.jobs] == [2, 2, 2]
    assert found.seconds.fixed == pytest.approx(2, rel=1e-3)
    assert found.seconds.each == pytest.approx(0.1, rel=1e-3)
    assert found.bytes.each == pytest.approx(2**20)
    assert growth.measure_growth(BenchmarkOptions()) == ()


def test_a_real_job(tmp_path):
    options = BenchmarkOptions(unfreeze_blocks=1, augment="none", **TINY)
    ballast = bytearray(2**30)  # what this process takes is not the job's
    seconds, peak = growth._run(growth.Job(16, 2, (32, 32)), options, tmp_path)
    assert seconds > 1
    assert peak > 2**27
    if sys.platform == "linux":
        assert peak < 2**31
    assert len(ballast) == 2**30


def test_a_job_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(growth.growth_job, "__name__", "kerastl.gone")
    with pytest.raises(KerasTLError, match=r"A job of 16 images.* No module named kerastl\.gone"):
        growth._run(growth.Job(16, 2, (32, 32)), BenchmarkOptions(**TINY), tmp_path)


def test_options_are_checked():
    with pytest.raises(ConfigError, match="Did you mean 'images'"):
        BenchmarkOptions(growth=("image",))
