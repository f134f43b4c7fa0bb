"""The table of the curves: one row for each step, whatever happens between two of them."""

import csv

from unfold.training.loggers.local import Curves


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_values_of_one_step_are_one_row(tmp_path):
    curves = Curves(tmp_path / "metrics.csv")
    curves.log_metrics({"lr": 0.5}, 0)
    curves.log_metrics({"loss": 1.0, "epoch": 0}, 0)
    curves.save()
    assert not curves.path.exists(), "the newest row may still grow"
    curves.log_metrics({"lr": 0.25}, 1)
    curves.save()
    assert rows(curves.path) == [{"step": "0", "lr": "0.5", "loss": "1.0", "epoch": "0"}]
    curves.log_metrics({"psnr": 30.0}, 1)
    curves.flush()
    first, second = rows(curves.path)
    assert first["psnr"] == "" and second["psnr"] == "30.0" and second["lr"] == "0.25"
    curves.log_metrics({"psnr": 31.0}, 1)
    curves.finalize("success")
    assert [row["psnr"] for row in rows(curves.path)] == ["", "31.0"]


def test_a_table_continues_where_it_is_cut(tmp_path):
    curves = Curves(tmp_path / "metrics.csv")
    for step in range(5):
        curves.log_metrics({"loss": 0.1 * step}, step)
    curves.flush()
    expected = curves.path.read_bytes()
    with curves.path.open("ab") as file:
        file.write(b"5,0.")  # a kill in the middle of a line
    again = Curves(curves.path)
    again.cut(3)
    assert [row["step"] for row in rows(curves.path)] == ["0", "1", "2"]
    for step in (3, 4):
        again.log_metrics({"loss": 0.1 * step}, step)
        again.save()
    again.flush()
    assert curves.path.read_bytes() == expected


def test_rows_are_not_appended_to_a_truncated_row(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,a\n0,1.0\n1,2.")
    curves = Curves(path)
    curves.log_metrics({"a": 2.0}, 1)
    curves.log_metrics({"a": 3.0}, 2)
    curves.flush()
    assert path.read_text() == "step,a\n0,1.0\n1,2.0\n2,3.0\n"
