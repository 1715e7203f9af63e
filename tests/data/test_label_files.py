"""CSV, TSV and JSONL: labels are text, paths exist, and every complaint names its line."""

import json
import logging

import pytest

from kerastl.data.label_files import table_from_label_file
from kerastl.errors import ConfigError, DataError


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a table beside six empty images a.png to f.png."""
    for name in "abcdef":
        (tmp_path / f"{name}.png").write_bytes(b"")

    def make(text, *, name="labels.csv", encoding="utf-8"):
        (tmp_path / name).write_bytes(text.encode(encoding))
        return tmp_path / name

    return make


def jsonl(*records):
    return "\n".join(json.dumps(record) for record in records)


def names_of(table):
    return [table.class_names[label] for label in table.labels]


def test_labels_stay_text_in_natural_order(write):
    file = write("path,label\na.png,01\nb.png,10\nc.png,NA\nd.png,2\ne.png,null\nf.png,1.0\n")
    table = table_from_label_file(file)
    assert table.class_names == ("01", "1.0", "2", "10", "NA", "null")
    assert names_of(table) == ["01", "10", "NA", "2", "null", "1.0"]
    assert table.ids[0] == str(file.parent / "a.png")
    assert table.name == "labels"
    assert table.groups is None
    assert table.splits is None


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("Path,Label", "a.png,x\nb.png,y"),
        ("filename,class", "a.png,x\nb.png,y"),
        ("id;file_name;category", "1;a.png;x\n2;b.png;y"),
        ("image\ttarget", "a.png\tx\nb.png\ty"),
        ("file path,labels", "a.png,x\r\n\r\n  b.png , y "),
        ('"image","label"', '"a.png","x"\n"b.png","y"'),
    ],
)
def test_usual_columns_and_dialects(write, header, text):
    table = table_from_label_file(write(f"{header}\n{text}\n"))
    assert names_of(table) == ["x", "y"]
    assert [one[-5:] for one in table.ids] == ["a.png", "b.png"]


def test_the_byte_order_mark_of_spreadsheets_is_no_part_of_a_name(write):
    file = write("\ufeffpath,label\na.png,x\nb.png,y\n")
    assert names_of(table_from_label_file(file, path_column="path")) == ["x", "y"]


def test_tsv_and_cells_with_commas_quotes_and_line_breaks(write):
    table = table_from_label_file(write("path\tlabel\na.png\tx, y\nb.png\tz\n", name="t.tsv"))
    assert table.class_names == ("x, y", "z")
    table = table_from_label_file(write('path,label\na.png,"x, ""y"""\nb.png,"z\nz"\n'))
    assert table.class_names == ('x, "y"', "z\nz")


def test_jsonl(write):
    file = write(
        jsonl({"image": "a.png", "label": 2}, {"image": "b.png", "label": "10"},
              {"image": "c.png", "label": True}, {"image": "d.png", "label": 0.5}) + "\n\n",
        name="t.jsonl",
    )  # fmt: skip
    assert names_of(table_from_label_file(file)) == ["2", "10", "true", "0.5"]


def test_splits_and_groups(write, caplog):
    text = "path,label,split,group\na.png,x,Training,p1\nb.png,y,valid,p2\nc.png,x,,p3\n"
    with caplog.at_level(logging.INFO):
        table = table_from_label_file(write(text))
    assert table.splits.tolist() == ["train", "val", ""]
    assert table.groups.tolist() == ["p1", "p2", "p3"]
    assert "'group' of" in caplog.text
    text = "path,label,fold,patient\na.png,x,train,7\nb.png,y,test,7\n"
    table = table_from_label_file(write(text))
    assert table.splits is None
    assert table.groups is None
    table = table_from_label_file(write(text), split_column="fold", group_column="patient")
    assert table.splits.tolist() == ["train", "test"]
    assert table.groups.tolist() == ["7", "7"]


def test_a_column_called_split_with_other_values_is_ignored_and_logged(write, caplog):
    table = table_from_label_file(write("path,label,split\na.png,x,1\nb.png,y,2\n"))
    assert table.splits is None
    assert "does not hold train, val and test and is ignored" in caplog.text


def test_several_labels(write):
    table = table_from_label_file(
        write("path,label\na.png,sun|sea\nb.png,sea\nc.png, sun | \n"), label_separator="|"
    )
    assert table.multi_label
    assert table.class_names == ("sea", "sun")
    assert table.labels.tolist() == [[1, 1], [1, 0], [0, 1]]
    records = [{"path": "a.png", "labels": ["x", "y"]}, {"path": "b.png", "labels": []},
               {"path": "c.png", "labels": "y"}]  # fmt: skip
    table = table_from_label_file(write(jsonl(*records), name="t.jsonl"))
    assert table.labels.tolist() == [[1, 1], [0, 0], [0, 1]]


def test_paths_start_at_the_file_or_at_data_dir(write, tmp_path):
    (tmp_path / "tables").mkdir()
    file = write("path,label\na.png,x\n./b.png,y\n", name="tables/t.csv")
    table = table_from_label_file(file, data_dir=tmp_path)
    assert table.ids == (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    file = write(f"path,label\n{tmp_path / 'a.png'},x\n../b.png,y\n", name="tables/t.csv")
    assert table_from_label_file(file).ids == table.ids


def test_the_same_row_twice_is_kept_once(write, caplog):
    table = table_from_label_file(write("path,label\na.png,x\nb.png,y\n./a.png,x\n"))
    assert len(table.ids) == 2
    assert "1 repeated rows of" in caplog.text


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("path,label\na.png,x\nb.png,\nc.png,  \n",
         r"label is missing in 2 of 3 rows .*\(column 'label', lines 3, 4\)\. Fill them in or"),
        ("path,label\na.png,x\nb.png\n", r"label is missing in 1 of 2 rows .*line 3\)"),
        ("path,label\n,x\nb.png,y\n", r"path is missing in 1 of 2 rows .*line 2\)"),
        ("path,label,group\na.png,x,1\nb.png,y,\n", r"group is missing .*gets a name of its own"),
        ("path,label\na.png,x\nno.png,y\n",
         r"1 of 2 images of .* do not exist, such as '.*no.png' \(line 3\)\..*--data-dir"),
        ("path,label\na.png,x\na.png,y\n",
         r"two different labels in .*: 'x' in line 2 and 'y' in line 3.*--label-separator"),
        ("path,label,split\na.png,x,train\na.png,x,test\n", "two different splits .*Delete one"),
        ("file,tag\na.png,x\n", r"no column for the label; its columns are 'file', 'tag'\. Say"),
        ("path,lable\na.png,x\n", r"Did you mean 'lable'\? Say which with --label-column"),
        ("a.png,x\nb.png,y\n", r"must name the columns; .*Put the line path,label above it"),
        ("path,label\na.png,x,y\n", r"Line 2 .* has 3 cells, but there are 2 columns.*in quotes"),
        ("path,label,label\na.png,x,y\n", "more than one column 'label'. Rename one"),
        ("path,label\n", r"has no rows\. Expected the columns path and label"),
        ("", "has no rows"),
        ('path,label\n"a.png,x\n', "cannot be read as a table: unexpected end of data"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_used(write, text, advice):
    with pytest.raises(DataError, match=advice) as caught:
        table_from_label_file(write(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('{"path": "a.png", "label": "x"}\n{"path": ', r"Line 2 of .* is not JSON: .*one object"),
        ('["a.png", "x"]', r"Line 1 of .* must be a JSON object such as .*received '\[\"a.png"),
        ('{"path": "a.png", "label": null}', r"label is missing in 1 of 1 rows.*line 1\)"),
        ('{"path": "a.png"}', "no column for the label; its columns are 'path'"),
    ],
)
def test_lines_that_cannot_be_used(write, text, advice):
    with pytest.raises(DataError, match=advice):
        table_from_label_file(write(text, name="t.jsonl"))


@pytest.mark.parametrize("role", ["path", "label", "split", "group"])
def test_a_named_column_that_does_not_exist(write, role):
    file = write("path,label,kind\na.png,x,1\nb.png,y,2\n")
    with pytest.raises(ConfigError, match=r"received .*='Kinds'\. Did you mean 'kind'\? Its"):
        table_from_label_file(file, **{f"{role}_column": "Kinds"})


def test_a_named_split_column_with_other_values(write):
    file = write("path,label,part\na.png,x,train\nb.png,y,tets\n")
    with pytest.raises(DataError, match=r"Line 3 .* the split 'tets'; .*Did you mean 'test'\?"):
        table_from_label_file(file, split_column="part")


def test_text_that_is_not_utf8(write):
    file = write("path,label\na.png,café\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"is not UTF-8 text. Save it as 'CSV UTF-8'"):
        table_from_label_file(file)


def test_the_separator_alone_says_that_an_image_has_no_label(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(b"")
    file = tmp_path / "labels.csv"
    file.write_text("path,label\na.png,sun|sea\nb.png,|\nc.png,sea\n")
    table = table_from_label_file(file, label_separator="|")
    assert table.labels.tolist() == [[1, 1], [0, 0], [1, 0]]
    file.write_text("path,label\na.png,sun|sea\nb.png,\n")
    with pytest.raises(DataError, match="has the --label-separator alone in its cell"):
        table_from_label_file(file, label_separator="|")
    with pytest.raises(DataError, match="The label is missing in 1 of 2 rows"):
        table_from_label_file(file)
