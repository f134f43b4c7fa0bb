import pytest

from tests.config.folder import make_folder


@pytest.fixture(scope="session")
def made_folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("configs"))


@pytest.fixture(autouse=True)
def configs(made_folder, monkeypatch, tmp_path):
    for module in ("config.compose", "config.options"):
        monkeypatch.setattr(f"unfold.{module}.configs_folder", lambda: made_folder)
    monkeypatch.chdir(tmp_path)
    return made_folder
