"""Where `make test-browser` finds no browser and cannot get one, it says what to do; here without any browser."""

import pytest

import chromium


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A PATH with no programs on it but those that the test makes; nothing of Playwright's."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(chromium, "_playwrights_own", lambda: None)
    return tmp_path


def make_program(path):
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_a_browser_that_is_named_and_missing_is_not_replaced(path, monkeypatch):
    make_program(path / "chromium")
    monkeypatch.setenv("CHROMIUM", "/no/chrome")
    monkeypatch.setattr(chromium, "install_chromium", lambda: pytest.fail("installed one"))
    with pytest.raises(SystemExit, match="CHROMIUM is '/no/chrome', which is no program"):
        chromium.main()


def test_where_none_can_be_installed_it_says_what_to_do(path, monkeypatch):
    commands = []
    monkeypatch.setattr(chromium.subprocess, "run", lambda command, **_: commands.append(command) or
                        chromium.subprocess.CompletedProcess(command, 1))
    make_program(path / "apt-get")
    with pytest.raises(SystemExit, match="no Chromium found. Install one .*, or name its program: `make test-browser"):
        chromium.main()
    assert commands[-1][1:] == ["-m", "playwright", "install", "chromium"]
