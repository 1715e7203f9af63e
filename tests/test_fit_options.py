"""The command line of fit is its configuration: same names, one line for each mistake."""

import cyclopts
import pytest

from kerastl.config import option_names
from kerastl.config_file import config_to_yaml, read_config
from kerastl.fit import build_app, main


def run_main(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        main(words)
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def test_flags_and_fields_are_the_same_set(capsys):
    code, out, _ = run_main(capsys, "--help")
    assert code == 0
    for name in option_names():
        assert f"--{name.replace('_', '-')}" in out


def test_print_config_and_config_are_inverse(capsys, tmp_path):
    words = ["photos", "--image-size", "240x320", "--unfreeze-blocks", "all", "--export"]
    words += ["--learning-rate", "1e-4", "--augment", "dihedral", "--label-separator", "|"]
    code, first, _ = run_main(capsys, *words, "--print-config")
    assert code == 0
    path = tmp_path / "config.yaml"
    path.write_text(first, encoding="utf-8")
    assert config_to_yaml(read_config(path)) == first
    assert run_main(capsys, "--config", str(path), "--print-config")[1] == first


def test_the_command_line_wins_over_the_file(capsys, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("data: photos\nseed: 3\nbatch_size: 8\n")
    _, out, _ = run_main(capsys, f"--config={path}", "--seed", "4", "--print-config")
    assert "seed: 4\n" in out
    assert "batch_size: 8\n" in out


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["photos", "--backbon", "VGG16"], "Did you mean --backbone?"),
        (["photos", "--augment", "lihgt"], 'Did you mean "light"?'),
        (["photos", "--image-size", "3q"], "Write for example 300 or 240x320"),
        (["photos", "--tune", "top"], "Write for example first, 5 or 5-8"),
        (["photos", "--tune", "5-8", "--unfreeze-blocks", "3"], "Leave out one of the two"),
        (["photos", "--tune", "5-8", "--recipe", "gradual"], "Leave out one of the two"),
        (["photos", "--batch-size", "many"], "--batch-size"),
        (["photos", "--val-fraction", "3"], "from 0.01 to 0.9"),
        (["photos", "--config", "absent.yaml"], "--print-config > config.yaml"),
        ([], "--help"),
    ],
)
def test_one_line_and_exit_code_2(capsys, words, advice):
    code, out, err = run_main(capsys, *words)
    assert code == 2
    assert out == ""
    assert advice in err
    assert err.count("\n") == 1, err


def test_a_recipe_need_not_name_the_data(capsys, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("seed: 3\naugment: mirrors\n")
    code, out, _ = run_main(
        capsys, "photos", "--config", str(path), "--seed", "4", "--print-config"
    )
    assert code == 0
    assert {"data: photos", "augment: mirrors", "seed: 4"} <= set(out.splitlines())
    code, _, err = run_main(capsys, "--config", str(path))
    assert code == 2
    assert "DATA requires an argument" in err


def test_print_recipe_shows_every_number_and_its_source(capsys, colour_folder):
    words = [str(colour_folder), "--recipe", "bit", "--soup", "2", "--print-recipe"]
    code, out, _ = run_main(capsys, *words)
    assert code == 0
    assert out.startswith("bit: Big Transfer")
    rows = {line.split()[0]: line for line in out.splitlines()[2:]}
    assert "500 steps" in rows["fine_tune_epochs"]
    assert rows["soup"].split()[1:] == ["2", "given"]
    assert "BiT-HyperRule" in rows["optimizer"]


def test_print_recipe_says_which_blocks_are_tuned(capsys, colour_folder):
    words = [str(colour_folder), "--weights", "none", "--image-size", "32", "--tune", "middle"]
    code, out, _ = run_main(capsys, *words, "--print-recipe")
    assert code == 0
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in out.splitlines()[2:]}
    assert rows["tune"] == ["middle", "given: blocks 7 to 11 of 17"]
    assert "unfreeze_blocks" not in rows


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["--recipe", "probe", "--fine-tune-epochs", "3"], "fits the probe alone"),
        (["--recipe", "probe", "--unfreeze-blocks", "3"], "fits the probe alone"),
        (["--recipe", "probe", "--tune", "3", "--weights", "none"], "fits the probe alone"),
        (["--tune", "15-20", "--weights", "none"], "1 to 17 counted from the input"),
        (["--tune", "first", "--views", "2", "--weights", "none"], "first block is trained"),
        (["--accumulate-steps", "64"], "must be at most `batch_size`, which is 32"),
        (["--find-lr", "--folds", "3"], "Leave out one of the two"),
        (["--folds", "1"], "`folds` must be 2 or more"),
        (["--log", "mlflow-of-old"], "mlflow"),
    ],
)
def test_options_that_do_not_go_together(capsys, colour_folder, tmp_path, words, advice):
    base = [str(colour_folder), "--image-size", "32", "--out", str(tmp_path / "run")]
    code, _, err = run_main(capsys, *base, *words)
    assert code == 2
    assert advice in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--fine-tune-epochs", "2.5"),
        ("--seed", "1.0"),
        ("--folds", "2.5"),
        ("--hidden-units", ".5"),
    ],
)
def test_what_is_counted_is_a_whole_number(option, said):
    """Cyclopts alone would make 2 of 2.5, and call that given."""
    words = ["photos/", option, said]
    with pytest.raises(cyclopts.CoercionError, match=f"{option}: a whole number is wanted, not "):
        build_app(words).parse_args(words, exit_on_error=False, print_error=False)
    words[-1] = "3"
    _, bound, _ = build_app(words).parse_args(words, exit_on_error=False)
    values = {**vars(bound.arguments["config"]), **bound.arguments}
    assert values[option[2:].replace("-", "_")] == 3
