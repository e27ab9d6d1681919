"""The parts of `make bench` that can be tested without training: operation counts, time to quality, processes."""

import math
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import dcgan_utils as dcgan
from conftest import ROOT
from lab.commands import bench, contestants, tables, time_to_quality, trainers

# Operations of a step

def test_operations_of_the_default_step_are_those_counted_by_hand():
    generator = 2 * 64 * 128 + 3 * (128 * 1568 + 49 * 16 * 32 * 16 + 3 * 196 * 9 * 16 * 16 + 196 * 16 * 16)
    discriminator = 5 * 196 * 16 * 16 + 7 * (49 * 16 * 16 * 32 + 49 * 9 * 33 * 32 + 1568 * 64 + 64)
    assert (trainers.step_operations(dcgan.build_generator(), dcgan.build_discriminator(), 64)
            == 128 * (generator + discriminator))


def test_default_trainer_keeps_all_that_training_changes():
    _, averaged, variables = trainers.default_trainer(np.zeros((4, 28, 28, 1), np.uint8), seed=3)
    generator, discriminator = dcgan.build_generator(seed=3), dcgan.build_discriminator(seed=3)
    kept = {id(variable) for variable in variables}
    assert all(id(weight.value) in kept for weight in averaged.weights)
    for weight, other in zip(averaged.get_weights(), generator.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
    trainable = len(generator.trainable_variables) + len(discriminator.trainable_variables)
    # two moments of each, and two numbers of each optimiser
    assert len(variables) == 2 * len(generator.variables) + len(discriminator.variables) + 2 * trainable + 4


# Time to quality

def curve(nets, seed, distances, images_each=60_000):
    return pd.DataFrame({"nets": nets, "seed": seed, "epoch": np.arange(1, len(distances) + 1) * images_each / 60_000,
                         "images": np.arange(1, len(distances) + 1) * images_each, "frechet_distance": distances})


def falling(*levels):
    """Distances of 50 epochs: of epochs 1 to 4, 5 to 9, 10 to 19, 20 to 49, and 50."""
    return np.repeat(np.array(levels, float), (4, 5, 10, 30, 1))


SECONDS = {"tutorial": 80.0, "default": 16.0}


def test_time_to_quality_takes_the_first_measured_point_at_or_below():
    curves = pd.concat([
        curve("tutorial", 0, falling(200, 100, 50, 40, 20)), curve("tutorial", 1, falling(200, 100, 50, 40, 20)),
        curve("default", 0, [150, 100, 130, 45, 60, 20, 3, 2], 15_000),
        curve("default", 1, [101, 99, 130, 51, 50, 20, 1, 2], 15_000)])
    table = time_to_quality.time_to_quality(curves, SECONDS).set_index("frechet_distance")
    assert table.index.tolist() == [100, 50, 40, 20, 2]
    assert table.tutorial_seconds.tolist() == [400, 800, 1600, 4000, 4000]
    assert table.default_low.tolist() == [8, 16, 24, 24, 28] and table.default_high.tolist() == [8, 20, 24, 24, 32]
    assert table.default_seconds.tolist() == [8, 18, 24, 24, 30]
    assert table.ratio.tolist() == pytest.approx([50, 800 / 18, 1600 / 24, 4000 / 24, 4000 / 30])
    assert table.tutorial_missed.tolist() == [0, 0, 0, 0, 2] and not table.default_missed.any()


def test_distances_to_reach_are_means_and_a_seed_that_misses_one_counts_with_its_whole_curve():
    curves = pd.concat([curve("tutorial", 0, falling(200, 120, 50, 40, 20)),
                        curve("tutorial", 1, falling(200, 80, 60, 60, 60)[:20]),
                        curve("default", 0, [90, 60, 40]), curve("default", 1, [110, 56, 52])])
    table = time_to_quality.time_to_quality(curves, SECONDS)
    assert table.frechet_distance.tolist() == [100, 55, 50], "50 epochs are not there for both seeds"
    assert table.tutorial_missed.tolist() == [0, 1, 1] and table.tutorial_seconds.tolist() == [600, 1200, 1200]
    assert table.default_missed.tolist() == [0, 0, 1] and table.default_seconds.tolist() == [24, 48, 48]
    assert table.ratio[:2].tolist() == [600 / 24, 1200 / 48] and math.isnan(table.ratio[2])


def test_printed_table_says_what_is_a_lower_bound_and_what_was_not_reached_and_the_figure_shows_it(capsys):
    curves = pd.concat([curve("tutorial", 0, falling(200, 100, 50, 40, 20)),
                        curve("tutorial", 1, falling(200, 140, 60, 50, 30)),
                        curve("default", 0, [99, 30, 10]), curve("default", 1, [99, 20, 10])])
    table = time_to_quality.time_to_quality(curves, SECONDS)
    time_to_quality.print_time_to_quality(table)
    lines = capsys.readouterr().out.splitlines()[-7:]
    assert lines[0].split("epochs")[1].split() == "120.00 600 (400 to 800) 16.0 38".split()
    assert lines[3].split("epochs")[1].split() == "25.00 >4000 40.0 (32.0 to 48.0) >100".split()
    assert lines[4].split("after 50")[1].split() == "2.50 >4000 >48.0 -".split()
    assert lines[5].endswith("100.000   (wanted: at least 200)")
    assert lines[6].endswith("inf   (wanted: at most 0.05)")
    axis = time_to_quality.plot_time_to_quality(curves, table, SECONDS).axes[0]
    assert sorted(line.get_xdata()[-1] for line in axis.lines[:4]) == [3 * 16, 3 * 16, 50 * 80, 50 * 80], "in seconds"
    assert len(axis.lines) == 4 + len(table) and (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
    assert "seconds" in axis.get_xlabel() and "Frechet" in axis.get_ylabel()
    assert len(axis.get_legend().get_texts()) == 2


def test_compiling_counts_in_a_ratio_of_its_own(capsys):
    curves = pd.concat([curve("tutorial", 0, falling(200, 100, 50, 40, 20)), curve("default", 0, [99, 20, 2])])
    time_to_quality.print_time_to_quality(time_to_quality.time_to_quality(curves, SECONDS), compiling=8.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].endswith("125.000   (wanted: at least 50)"), "4,000 s after 32"
    assert "8 s for compiling counted" in lines[-2] and lines[-2].endswith("100.000   (wanted: above 1)")


# Rounds

def test_table_on_a_gpu_has_the_compiled_ways_and_what_compiling_takes(monkeypatch, capsys):
    monkeypatch.setattr(bench, "has_gpu", lambda: True)
    monkeypatch.setattr(bench, "device_name", lambda: "a card")
    seconds = {"tutorial": [3.0], "steps": [16.0], "compiled steps": [1.2], "free compiled steps": [1.0],
               "epoch": [1.5], "contiguous": [10.0], "channels_last": [9.0], "graph_contiguous": [0.9],
               "graph_channels_last": [1.0]}
    bench.print_epochs(seconds, [0.1], {"compiled steps": {"first": 12.0}})
    out = capsys.readouterr().out
    found = {text: float(number) for text, number in re.findall(r"^  (\S.+?) {2,}([\d.]+)\b", out, flags=re.M)}
    assert "a card" in out and found["compiled / not, of a step"] == 0.075
    assert found["what surrounds the steps but the distance, of an epoch"] == 0.133
    assert found["PyTorch, eager / ours, of a step"] == 7.5 and found["PyTorch, a CUDA graph / ours, of a step"] == 0.75
    assert found["op determinism / without, of a compiled step"] == 1.2
    assert "the first call, tracing and compiling: 12.0 s" in out


def test_ratios_are_medians_of_the_rounds_ratios():
    assert tables.median_ratio([1, 20, 500], [1, 10, 100]) == 2
    with pytest.raises(ValueError):
        tables.median_ratio([1, 2], [1])


def contestant(code):
    return bench.Contestant(sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'notebooks')!r})\n"
                                                  f"import time\nfrom lab.commands import contestants\n{code}")


def test_contestant_answers_when_it_is_asked_and_ends_when_it_is_closed():
    held = np.ones(2 ** 27)  # a GiB, which is not the contestant's
    process = contestant("contestants.answer_seconds(lambda: time.sleep(0.01), times=2, scale=10)")
    del held
    assert process.first.keys() == {"seconds", "first", "peak"} and 2 ** 20 < process.first["peak"] < 2 ** 30
    assert process.ask()["seconds"] >= 0.1
    process.close()
    assert process.process.returncode == 0


def test_contestant_that_fails_shows_why():
    with pytest.raises(SystemExit, match="no such thing"):
        contestant("raise ValueError('no such ' + 'thing')")


def test_bench_needs_nothing_that_the_environment_of_pytorch_lacks():
    lacks = {"tensorflow", "keras", "pandas", "dcgan_utils"}
    code = f"import sys; from lab.commands import contestants; sys.exit(bool({lacks!r} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "notebooks")


def test_shares_of_time_count_operations_alone_on_their_threads_alone():
    from tensorflow.tsl.profiler.protobuf import xplane_pb2
    trace = xplane_pb2.XSpace()
    plane = trace.planes.add()
    names = ("net/a:MatMul", "net/b:MatMul", "net/c:Relu", "ExecutorState::Process", "EagerLocalExecute: __step")
    for i, name in enumerate(names):
        plane.event_metadata[i].name = name
    for thread, events in enumerate((((0, 2.0), (3, 9.0)), ((1, 1.0), (2, 0.5)), ((4, 5.0),))):
        line = plane.lines.add(id=thread)
        for metadata_id, seconds in events:
            line.events.add(metadata_id=metadata_id, duration_ps=int(seconds * 1e12))
    shares = contestants.shares_of_time(trace, elapsed=2.5)
    assert list(shares.items()) == [("MatMul", pytest.approx(3 / 5)), ("Relu", pytest.approx(0.5 / 5))]
