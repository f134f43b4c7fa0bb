"""Data sets of the user's: a class with two methods, or one of PyTorch's by its adapter."""

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from unfold.cli.check import check, check_data
from unfold.data.example import Example
from unfold.data.own import OwnData, TorchExamples
from unfold.errors import ConfigError, DataError


class Squares:
    """Squares of a side that grows."""

    def __init__(self, count: int = 4, first: int = 0) -> None:
        self.count, self.first = count, first

    def __len__(self) -> int:
        return self.count

    def example(self, i: int) -> Example:
        image = torch.full((1, 8, 8), (i + self.first) / 100)
        return Example(image, metadata={"place": i})


def test_a_class_with_two_methods_gives_batches_and_a_fingerprint():
    data = OwnData(
        0, train=Squares(6), validation=Squares(2, 10), test=Squares(2, 20), batch_size=2
    )
    data.check()
    seen = torch.cat([batch.images[:, 0, 0, 0] for batch in data.train_loader()])
    np.testing.assert_allclose(sorted(seen), [0, 0.01, 0.02, 0.03, 0.04, 0.05], atol=1e-7)
    assert [e.metadata["place"] for _, e in data.examples("test")] == [0, 1]
    assert not data.measured and data.truth == "image"
    other = OwnData(0, train=Squares(6), validation=Squares(2, 10), test=Squares(2, 21))
    assert data.fingerprint() != other.fingerprint()


def test_data_sets_of_pytorch_by_one_line():
    x, y = torch.rand(3, 1, 8, 8), torch.rand(3, 1, 10, 10)
    pairs = OwnData(0, test=TorchExamples(TensorDataset(y, x), ["measurement", "image"]))
    found = [one for _, one in pairs.examples("test")]
    assert pairs.measured
    assert all(
        torch.equal(e.image, x[i]) and torch.equal(e.measurement, y[i]) for i, e in enumerate(found)
    )
    labelled = OwnData(0, test=TorchExamples(TensorDataset(x, torch.arange(3))))
    assert [tuple(e.image.shape) for _, e in labelled.examples("test")] == [(1, 8, 8)] * 3
    named = OwnData(0, test=TorchExamples([{"measurement": y[0].numpy(), "kernel": x[0]}]))
    ((_, one),) = named.examples("test")
    assert one.image is None and set(one.parameters) == {"kernel"} and named.truth == ""


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (torch.rand(8, 8), r"\(8, 8\); expected \(channels, H, W\)"),
        (torch.rand(3, 8, 8), "data.channels = 1"),
        (torch.full((1, 8, 8), float("nan")), "64 values of image are not finite"),
        (255 * torch.ones(1, 8, 8), r"intensities above 1, expected \[0, 1\]"),
        ({}, "expected an Example with an image"),
    ],
)
def test_a_faulty_example_is_named(item, said, capsys):
    data = OwnData(0, test=TorchExamples([torch.zeros(1, 8, 8), item]))
    with pytest.raises(DataError, match=rf"data.test.example\(1\): .*{said}"):
        data.items("test")
    with pytest.raises(DataError, match="1 of 2 files"):
        check_data(data)
    with pytest.warns(UserWarning, match="1 files are left out"):
        assert len(OwnData(0, test=data.test, skip_faulty=True).items("test")) == 1


def test_an_example_in_two_splits_is_a_fault():
    with pytest.raises(DataError, match="for test, and the same"):
        OwnData(0, train=Squares(3), test=Squares(3)).items("test")


def test_what_is_no_data_set_is_refused():
    with pytest.raises(ConfigError, match="TorchExamples"):
        OwnData(0, test=[torch.zeros(1, 8, 8)])


def test_yaml_names_a_class_of_a_trusted_package(tmp_path, monkeypatch, capsys):
    (tmp_path / "mysquares.py").write_text(
        "import torch\nfrom unfold.data.example import Example\n\n\nclass Squares:\n"
        "    def __init__(self, first: int) -> None:\n        self.first = first\n"
        "    def __len__(self) -> int:\n        return 3\n"
        "    def example(self, i: int) -> Example:\n"
        "        return Example(torch.full((1, 8, 8), (self.first + i) / 100))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "options/data").mkdir(parents=True)
    blocks = "".join(
        f"{split}: {{_target_: mysquares.Squares, first: {10 * k}}}\n"
        for k, split in enumerate(("train", "validation", "test"))
    )
    head = "defaults: [own]\n"
    (tmp_path / "options/data/squares.yaml").write_text(head + blocks)
    folder = str(tmp_path / "options")
    assert check(["--config-dir", folder, "data=squares", "trust=[mysquares]"]) == 0
    assert "All 9 files can be used" in capsys.readouterr().out
