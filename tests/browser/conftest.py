"""What the tests in a browser share: Chromium, a page that fails on errors, and JupyterLab on a copy of the course."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from chromium import find_chromium

ROOT = Path(__file__).resolve().parents[2]
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run"]


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window, with a profile of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def browser_page(browser):
    """A fresh page, as wide as a laptop's; an error in its JavaScript that nobody caught fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(error.stack or error.message))
    yield page
    context.close()
    assert not errors, "uncaught errors in the page:\n" + "\n".join(errors)


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """A copy of the course without the user's runs: nothing that is done to it reaches the original."""
    folder = tmp_path_factory.mktemp("course")
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            check=True, capture_output=True, text=True).stdout.split("\0")
    for name in listed:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


class Server:
    """A running JupyterLab."""

    def __init__(self, url, token):
        self.url, self.token = url, token

    def ask(self, method, path):
        """What its REST API answers, decoded."""
        request = urllib.request.Request(f"{self.url}api/{path}", method=method,
                                         headers={"Authorization": f"token {self.token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def address(self, path):
        """Where a browser finds a file in it, in a fresh workspace."""
        return f"{self.url}lab/tree/{path}?token={self.token}&reset"

    def stop_kernels(self):
        for session in self.ask("GET", "sessions"):
            self.ask("DELETE", f"sessions/{session['id']}")


@pytest.fixture(scope="session")
def jupyterlab(course, tmp_path_factory):
    """JupyterLab as the README starts it, but without a window, on the copy and in smoke mode: a `Server`."""
    home = tmp_path_factory.mktemp("jupyter")
    settings = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("DCGAN_", "WANDB_", "JUPYTER"))}
    alone |= {"DCGAN_SMOKE": "1", "WANDB_MODE": "offline", "IPYTHONDIR": str(home / "ipython")}
    alone |= {f"JUPYTER_{kind.upper()}_DIR": str(home / kind) for kind in ("config", "data", "runtime")}
    with open(home / "log", "w") as log:
        process = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"], cwd=course,
                                   env=alone, stdout=log, stderr=log)
    try:
        yield _wait_for_server(process, home / "runtime" / f"jpserver-{process.pid}.json", home / "log")
    finally:
        process.terminate()
        process.wait(60)


def _wait_for_server(process, facts, log, seconds=180):
    """The server as it describes itself in the file `facts`, as soon as it answers."""
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        try:
            about = json.loads(facts.read_text())
            server = Server(about["url"], about["token"])
            server.ask("GET", "status")
            return server
        except (OSError, ValueError):  # not there yet, or half written
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()}")
