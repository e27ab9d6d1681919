"""Portraits to try the course on: which pictures of the package are taken, where it comes from, and what can fail."""

import hashlib
import io
import json
import tarfile

import imageio.v3 as imageio
import numpy as np
import pytest

from faulty_server import Faulty, serving
from lab import datasets, files, own_pictures

BOY = {"image": "b.png", "subcategory": "person", "short_name": "boy",
       "skin_variations": {"1F3FB": {"image": "b-1.png"}, "1F3FC": {"image": "b-2.png"}}}
ENTRIES = [BOY, {"image": "cook.png", "subcategory": "person-role", "short_name": "male-cook"},
           {"image": "no.png", "subcategory": "person-gesture", "short_name": "woman-gesturing-no"},
           {"image": "feeding.png", "subcategory": "person-role", "short_name": "man_feeding_baby"},
           {"image": "cat.png", "subcategory": "animal-mammal", "short_name": "cat"}]
PORTRAITS = ["b.png", "b-1.png", "b-2.png", "cook.png", "no.png"]


def write_package(path, left_out=()):
    """A package like the published one, of the entries above; its bytes' SHA-256."""
    contents = {"emoji.json": json.dumps(ENTRIES).encode(), "LICENSE": b"MIT License", "README.md": b"# Emoji"}
    for number, name in enumerate([*PORTRAITS, "feeding.png", "cat.png"]):
        picture = np.full((64, 64, 3), 30 * number + 20, np.uint8)
        picture[16:48, 16:48] = (250, 200, 40 * number)
        contents[f"img/google/64/{name}"] = imageio.imwrite("<bytes>", picture, extension=".png")
    with tarfile.open(path, "w:gz") as package:
        for name in sorted(contents.keys() - set(left_out)):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(contents[name])
            package.addfile(entry, io.BytesIO(contents[name]))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A small package on a server that stands in for the registry: its path."""
    folder = tmp_path / "published"
    folder.mkdir()
    path = folder / "package-16.0.0.tgz"
    monkeypatch.setattr(own_pictures, "SHA256", write_package(path))
    monkeypatch.setattr(files, "OUTPUTS", tmp_path / "outputs")
    with serving(folder) as address:
        monkeypatch.setattr(own_pictures, "ADDRESS", address + path.name)
        yield path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_heads_and_shoulders_are_taken_in_all_colours_of_skin_and_nothing_else():
    assert own_pictures.portraits_among(ENTRIES) == PORTRAITS


def test_portraits_are_fetched_once_with_their_licence_and_can_be_loaded(published, tmp_path, capsys):
    folder = own_pictures.fetch_portraits()
    assert folder == tmp_path / "outputs" / "portraits"
    assert names_in(folder) == sorted([*PORTRAITS, "LICENSE", "README.md"])
    assert (folder / "LICENSE").read_bytes() == b"MIT License"
    published.unlink()
    assert own_pictures.fetch_portraits() == folder
    data = datasets.load_dataset(folder, image_size=64)
    assert data.images.shape == (5, 64, 64, 3) and data.labels is None
    assert "left out: 1 .md, 1 without a suffix" in capsys.readouterr().out


def test_package_at_hand_is_not_downloaded(published, tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    published.rename(own / published.name)
    monkeypatch.setenv("DCGAN_DATA_DIR", str(own))
    assert names_in(own_pictures.fetch_portraits()) == sorted([*PORTRAITS, "LICENSE", "README.md"])
    assert names_in(own) == [published.name]


def test_broken_transfer_is_said_and_the_next_call_begins_anew(published, tmp_path):
    Faulty.broken = 1
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded \([\d,]+ bytes are missing.*Run again.*"
                                                "DCGAN_DATA_DIR"):
        own_pictures.fetch_portraits()
    assert not (tmp_path / "outputs").exists()
    assert len(names_in(own_pictures.fetch_portraits())) == 7


def test_no_network_and_a_missing_file_are_said(published):
    published.unlink()
    with pytest.raises(FileNotFoundError, match="package-16.0.0.tgz: could not be downloaded .*404"):
        own_pictures.fetch_portraits()


def test_another_file_than_the_published_one_is_refused(published, tmp_path):
    published.write_bytes(published.read_bytes() + b"more")
    with pytest.raises(ValueError, match="not the published file"):
        own_pictures.fetch_portraits()
    assert not (tmp_path / "outputs").exists()


def test_package_without_one_of_its_pictures_leaves_no_folder(published, tmp_path, monkeypatch):
    monkeypatch.setattr(own_pictures, "SHA256", write_package(published, left_out=["img/google/64/no.png"]))
    with pytest.raises(KeyError, match="no.png"):
        own_pictures.fetch_portraits()
    assert not list((tmp_path / "outputs").iterdir())


def test_smoke_mode_downloads_nothing(published, monkeypatch):
    monkeypatch.setenv("DCGAN_SMOKE", "1")
    with pytest.raises(FileNotFoundError, match="smoke mode downloads nothing"):
        own_pictures.fetch_portraits()
