"""Rows say what they are, survive the disk, and make tables."""

import csv
import io
from dataclasses import replace

import pytest

from unfold.errors import DataError
from unfold.evaluation.records import (
    COLUMNS,
    Matrix,
    Row,
    mean,
    pivot,
    read_rows,
    to_csv,
    to_latex,
    to_markdown,
    write_rows,
)


def row(tested_on="blur", value=1 / 3, method="ours", image="a", metric="psnr"):
    return Row("run", "motion_blur", tested_on, "0.02", method, 5, "True", image, metric, value)


def test_rows_keep_every_digit_on_disk(tmp_path):
    rows = [row(), row("mask", 2e-17)]
    write_rows(tmp_path / "rows.csv", rows)
    assert read_rows(tmp_path / "rows.csv") == rows


def test_the_truth_of_measured_data_has_a_column_and_simulated_rows_stay_as_they_are(tmp_path):
    simulated, path = row(), tmp_path / "rows.csv"
    write_rows(path, [simulated])
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS[:-2])
    assert COLUMNS[-2:] == ("truth", "start")
    rows = [replace(simulated, truth="root of the sum of squares"), simulated]
    write_rows(path, rows)
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS[:-1])
    assert read_rows(path) == rows


def test_another_table_is_refused(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"rows\.csv: expected the columns run, trained_on"):
        read_rows(tmp_path / "rows.csv")


def test_a_cell_is_the_mean_over_images():
    rows = [
        row(value=1.0),
        row(value=2.0, image="b"),
        row(metric="ssim", value=9.0),
        row("mask", 4.0),
    ]
    matrix = pivot(rows, lambda r: r.trained_on, lambda r: r.tested_on, "psnr")
    assert matrix.columns == ("blur", "mask")
    assert matrix.cells == ((1.5, 4.0),)
    assert mean([], "psnr") != mean([], "psnr")  # NaN where there is nothing


def test_tables_in_three_formats():
    matrix = pivot([row(value=1.25)], lambda r: r.trained_on, lambda r: r.tested_on, "psnr")
    assert "| motion_blur | 1.250 |" in to_markdown(matrix)
    assert r"motion\_blur & 1.250 \\" in to_latex(matrix)
    assert "motion_blur,1.25" in to_csv(matrix)


@pytest.mark.parametrize("content", ["run\n1", "\0", "\xff", ",".join(COLUMNS) + "\n1,2"])
def test_damaged_rows_are_named(tmp_path, content):
    path = tmp_path / "rows.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=r"rows\.csv: expected the columns .* Repeat the run"):
        read_rows(path)


def test_names_of_any_kind_stay_in_their_cell():
    """Markdown, LaTeX and CSV each have signs and line breaks that would end a cell or a row."""
    name = "a,b|c&d_\n% \x1b"
    table = Matrix("x", (name,), (name, "z"), ((1.0, 2.0),))
    rows = list(csv.reader(io.StringIO(to_csv(table))))
    assert rows == [["x", name, "z"], [name, "1.0", "2.0"]]
    assert len(to_markdown(table).splitlines()) == 3
    assert to_markdown(table).count(r"a,b\|c&d_\n% \x1b") == 2
    assert r"a,b|c\&d\_$\backslash$n\% $\backslash$x1b & 1.000 & 2.000 \\" in to_latex(table)
