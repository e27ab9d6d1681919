"""Finds a Chromium for the tests in a browser; `make test-browser` installs one with it where there is none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = ("no Chromium found. Install one (Debian: `apt-get install chromium`; anywhere: `.venv/bin/playwright "
           "install chromium`; or Google Chrome), or name its program: `make test-browser CHROMIUM=/path/to/chrome`.")


def find_chromium():
    """Path of the program: what `CHROMIUM` names, else one on the PATH, else the one that Playwright installed.

    Raises:
        FileNotFoundError: there is none; says how to get one.
    """
    named = os.environ.get("CHROMIUM")
    if named:
        found = shutil.which(named)
        if not found:
            raise FileNotFoundError(f"CHROMIUM is {named!r}, which is no program; wanted the path of a Chromium.")
        return found
    found = next(filter(None, map(shutil.which, NAMES)), None) or _playwrights_own()
    if not found:
        raise FileNotFoundError(MISSING)
    return found


def _playwrights_own():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def install_chromium():
    """Try the system's package, where this is root's to do, and then Playwright's download; neither is sure to work."""
    attempts = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if shutil.which("apt-get") and os.geteuid() == 0:
        attempts.insert(0, ["sh", "-c", "apt-get update -qq && apt-get install -qq -y chromium"])
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in attempts:
        if subprocess.run(command, env=quiet, stdout=subprocess.DEVNULL).returncode == 0:
            return


def main():
    try:
        find_chromium()
    except FileNotFoundError as error:
        if os.environ.get("CHROMIUM"):
            sys.exit(f"make test-browser: {error}")
        print("Installing Chromium, 0.5 GB, once ...", flush=True)
        install_chromium()
    try:
        print("Chromium:", find_chromium())
    except FileNotFoundError as error:
        sys.exit(f"make test-browser: {error}")


if __name__ == "__main__":
    main()
