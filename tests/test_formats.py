"""Files of images: .npz, .csv, folders, and every kind of damage."""

import gzip
import io

import numpy as np
import pandas as pd
import pytest
import scipy.io
from PIL import Image

from lab import datasets


def truncate(path, share=0.6):
    path.write_bytes(path.read_bytes()[:int(path.stat().st_size * share)])


def save_npz(tmp_path, **arrays):
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path / "data.npz"


@pytest.mark.parametrize("shape", [(6, 16, 16), (6, 16, 16, 1), (6, 16, 16, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_npz_of_three_or_four_dimensions(shape, dtype, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    labels = np.array([[0], [1], [2], [0], [0], [2]])
    dataset = datasets.load_dataset(save_npz(tmp_path, x_train=images, y_train=labels))
    assert dataset.images.dtype == np.uint8 and dataset.image_shape == (16, 16, shape[3] if len(shape) == 4 else 1)
    np.testing.assert_array_equal(dataset.images.reshape(shape), images)
    assert dataset.counts == {"0": 3, "1": 1, "2": 2} and dataset.labels.dtype == np.uint8


def test_npz_of_images_alone_has_no_labels_and_no_test_images(tmp_path, make_images):
    path = save_npz(tmp_path, x_train=make_images(5))
    dataset = datasets.load_dataset(path)
    assert dataset.labels is None and dataset.counts == {"all": 5}
    with pytest.raises(ValueError, match=r"data\.npz: has no array 'x_test' \(its arrays: x_train\)"):
        datasets.load_dataset(path, split="test")


@pytest.mark.parametrize("arrays, message", [
    (dict(images=np.zeros((2, 8, 8), np.uint8), labels=np.zeros(2)), "x_train.*images, labels"),
    (dict(x_train=np.zeros((2, 8, 8), np.float32)), "float32"),
    (dict(x_train=np.full((2, 8, 8), -1)), "-1"),
    (dict(x_train=np.full((2, 8, 8), 256)), "256"),
    (dict(x_train=np.zeros((2, 64), np.uint8)), "shape"),
    (dict(x_train=np.zeros((0, 8, 8), np.uint8)), "no images"),
    (dict(x_train=np.zeros((2, 8, 8), np.uint8), y_train=np.zeros(3, np.uint8)), "labels"),
    (dict(x_train=np.zeros((2, 8, 8), np.uint8), y_train=np.array([0.0, 1.0])), "labels"),
    (dict(x_train=np.zeros((2, 8, 8), np.uint8), y_train=np.eye(2)), r"labels y_train are of shape \(2, 2\).*argmax"),
    (dict(x_train=np.zeros((2, 8, 8), np.uint8), y_train=np.zeros(2, int), y_test=np.array([-1])), "y_test range .*-1"),
], ids=lambda value: None if isinstance(value, dict) else value)
def test_npz_of_other_content_is_refused(arrays, message, tmp_path):
    with pytest.raises(ValueError, match=rf"data\.npz.*{message}"):
        datasets.load_dataset(save_npz(tmp_path, **arrays))


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_npz_with_pickled_objects_is_refused_and_never_unpickled(tmp_path):
    trace = tmp_path / "was-run"
    path = save_npz(tmp_path, x_train=np.array([Payload(str(trace))], dtype=object))
    with pytest.raises(ValueError, match=r"data\.npz.*pickled"):
        datasets.load_dataset(path)
    assert not trace.exists()
    with np.load(path, allow_pickle=True) as archive:
        archive["x_train"][0].close()
    assert trace.exists(), "the payload is a dud, so this test proved nothing"


@pytest.mark.parametrize("content", ["truncated", "one flipped byte", "an .npy array", "text"])
def test_damaged_npz_is_named(content, tmp_path, make_images):
    path, array = tmp_path / "data.npz", io.BytesIO()
    np.savez_compressed(path, x_train=make_images(50))
    np.save(array, make_images(2))
    half = path.stat().st_size // 2
    start, byte, end = np.split(np.fromfile(path, np.uint8), [half, half + 1])
    path.write_bytes({"truncated": start, "one flipped byte": np.concatenate([start, ~byte, end]),
                      "an .npy array": array.getbuffer(), "text": b"<html>404 not found</html>"}[content])
    with pytest.raises(ValueError, match=r"data\.npz"):
        datasets.load_dataset(path)


SIDE = 4
PIXELS = np.random.default_rng(1).integers(0, 256, (7, SIDE * SIDE))
LABELS = np.array([3, 0, 1, 1, 2, 3, 0])
PIXEL_NAMES = [f"pixel{i}" for i in range(SIDE * SIDE)]


def csv_text(header=True, labels=True, pixels=PIXELS, names=PIXEL_NAMES):
    lines = [",".join(["label"] * labels + list(names))] if header else []
    for label, row in zip(LABELS, pixels):
        lines.append(",".join(map(str, ([label] if labels else []) + list(row))))
    return "\n".join(lines) + "\n"


def write_csv(tmp_path, text, name="train.csv"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("options, name", [({}, "train.csv"), ({"header": False}, "train.csv"), ({}, "train.csv.gz"),
                                           ({"labels": False}, "test.csv")])
def test_csv_with_and_without_header_and_labels(options, name, tmp_path):
    dataset = datasets.load_dataset(write_csv(tmp_path, csv_text(**options), name))
    np.testing.assert_array_equal(dataset.images, PIXELS.reshape(-1, SIDE, SIDE, 1))
    np.testing.assert_array_equal(dataset.labels, LABELS if options.get("labels", True) else None)
    assert dataset.counts == ({"0": 2, "1": 2, "2": 1, "3": 2} if options.get("labels", True) else {"all": 7})


GRID_NAMES = [f"{i // SIDE + 1}x{i % SIDE + 1}" for i in range(SIDE * SIDE)]
BY_TEXT = sorted(range(SIDE * SIDE), key=PIXEL_NAMES.__getitem__)  # pixel0, pixel1, pixel10, ...


CSV_FORMS = {  # the text, and what is said of the label
    "1x1": (csv_text(names=GRID_NAMES), "label"),
    "0": (csv_text(names=map(str, range(16))), "label"),
    "1": (csv_text(names=map(str, range(1, 17))), "label"),
    "p_1_1": (csv_text(names=[f"p_{name.replace('x', '_')}" for name in GRID_NAMES]), "label"),
    "12.0": (csv_text(pixels=PIXELS.astype(float)), "label"),
    "semicolons": (csv_text().replace(",", ";"), "label"),
    "tabs": (csv_text(header=False).replace(",", "\t"), "1"),
    "blanks": (csv_text(header=False).replace(",", "  "), "1"),
    "sorted as text": (csv_text(pixels=PIXELS[:, BY_TEXT], names=[PIXEL_NAMES[i] for i in BY_TEXT]), "label"),
    "class, last": (csv_text(labels=False).replace("\n", ",{}\n").format("class", *LABELS), "class"),
    "BOM, blanks": ("\ufeff" + csv_text().replace(",", ", "), "label"),
    "counted": (pd.DataFrame(np.column_stack([LABELS, PIXELS])).to_csv(index=False), "1"),
    "row numbers, counted": (pd.DataFrame(np.column_stack([LABELS, PIXELS])).to_csv(), "2"),
    "row numbers": (pd.DataFrame(PIXELS).assign(Label=LABELS).to_csv(), "Label"),
    "pixels": (csv_text(header=False, labels=False), None),
    "pixels, counted": (pd.DataFrame(PIXELS).to_csv(index=False), None),
    "pixels, row numbers": (pd.DataFrame(PIXELS).to_csv(), None),
}


@pytest.mark.parametrize("form", CSV_FORMS)
def test_csv_of_every_form_gives_the_same_images_and_says_what_is_the_label(form, tmp_path, capsys):
    text, label = CSV_FORMS[form]
    dataset = datasets.load_dataset(write_csv(tmp_path, text, "MNIST.CSV"))
    np.testing.assert_array_equal(dataset.images[..., 0].reshape(7, -1), PIXELS)
    np.testing.assert_array_equal(dataset.labels, LABELS if label else None)
    classes = f"4 classes (0, 1, 2, 3), by column {label}" if label else "no labels"
    line = f"MNIST.CSV: 7 images of 4 x 4 x 1, pixels from {PIXELS.min()} to {PIXELS.max()}, {classes}"
    assert capsys.readouterr().out.splitlines()[0] == line + ("; left out: row numbers" if "row" in form else "")


def changed(value):
    pixels = PIXELS.astype(object)
    pixels[2, 5] = value
    return csv_text(pixels=pixels)


@pytest.mark.parametrize("text, message", [
    (changed(""), "pixel5.*empty"),
    (changed("0.5"), "pixel5.*whole"),
    (changed("x"), "pixel5"),
    (changed("-1"), "-1"),
    (changed("256"), "256"),
    (csv_text(names=[f"feature{i}" for i in range(SIDE * SIDE)]), "feature0.*wanted label,pixel1"),
    (csv_text(pixels=PIXELS[:, :-1], names=PIXEL_NAMES[:-1]), "16 in all.*square"),
    (csv_text(header=False, pixels=PIXELS[:, :-2]), "15 in all.*square"),
    (csv_text().replace("label", "id", 1), "of which id may be neither.*wanted label"),
    (csv_text().replace("pixel0", "x" * 7000, 1), "of which xxx.* may be neither.*wanted label"),
    (csv_text().replace("pixel3,", "class,", 1), "label, class can all be the label"),
    (csv_text().replace("pixel3,", "pixel33,", 1), r"not numbered from 0 without a gap \(see 3, 33\)"),
    (csv_text(names=GRID_NAMES).replace("2x3", "5x3", 1), r"not numbered from 1 without a gap \(see 2x3, 5x3\)"),
    ("".join(f"0,{row},{label}\n" for row, label in zip(csv_text(header=False, pixels=PIXELS[:, 2:]).split(), LABELS)),
     "the first, 0 in each row, is hardly the label"),
    (csv_text(pixels=PIXELS / 2), "column pixel0, pixel1, .*pixel9 and 6 more: empty cells or .*not whole"),
    (csv_text().splitlines()[0] + "\n", "no row below its header"),
    (csv_text().replace("pixel15", "", 1).replace(",\n", "\n", 1), "more cells than its header"),
    (csv_text() + "1,2,3,4" + ",5" * 40 + "\n", "not readable"),
    ("", "not readable"),
    (csv_text().replace("\n1,", "\n,", 1), "labels"),
], ids=["empty cell", "fraction", "letter", "negative", "above 255", "other names", "not square",
        "not square, no header", "id column", "a long name", "two labels", "a gap", "a gap in a grid", "label last",
        "many columns", "header only", "short header", "ragged", "empty file", "missing label"])
def test_csv_of_other_content_is_refused(text, message, tmp_path):
    with pytest.raises(ValueError, match=rf"train\.csv: .*{message}") as caught:
        datasets.load_dataset(write_csv(tmp_path, text))
    assert len(str(caught.value)) - len(str(tmp_path)) < 300


def test_truncated_csv_gz_is_named(tmp_path):
    truncate(write_csv(tmp_path, csv_text(), "train.csv.gz"))
    with pytest.raises(ValueError, match=r"train\.csv\.gz.*not readable"):
        datasets.load_dataset(tmp_path / "train.csv.gz")


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def save_image(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def stripes(width, height, *colours):
    """Vertical stripes of equal width."""
    image = np.zeros((height, width, 3), np.uint8)
    for i, colour in enumerate(colours):
        image[:, width * i // len(colours):width * (i + 1) // len(colours)] = colour
    return Image.fromarray(image)


def load_one(folder, image, name="one.png", size=16, **options):
    save_image(image, folder / name, **options)
    return datasets.load_dataset(folder, image_size=size).images[0]


def test_sub_folders_are_the_classes(tmp_path):
    for name, colour in (("dogs/b.png", 10), ("cats/a.png", 20), ("cats/more/c.JPG", 30), ("dogs/a.png", 40)):
        save_image(np.full((9, 9), colour, np.uint8), tmp_path / name, quality=100)
    (tmp_path / "notes.txt").write_text("no image")
    dataset = datasets.load_dataset(tmp_path, image_size=8)
    assert dataset.class_names == ("cats", "dogs") and dataset.counts == {"cats": 2, "dogs": 2}
    found = zip(dataset.labels.tolist(), dataset.images[:, 4, 4, 0].tolist())
    assert sorted(found) == [(0, 20), (0, 30), (1, 10), (1, 40)]
    assert dataset.image_shape == (8, 8, 1)


def test_what_counts_in_a_folder_and_what_was_left_out_is_said(tmp_path, capsys):
    folder = tmp_path / "animals"
    for name in ("cats/a.png", "cats/b.JFIF", "cats/.ipynb_checkpoints/a-checkpoint.png", "__MACOSX/cats/._a.png",
                 "cats/@eaDir/a.jpg", "../elsewhere/c.ppm", "../elsewhere/d.png"):
        save_image(np.full((9, 9), 200, np.uint8), folder / name, format="JPEG" if name.endswith("JFIF") else None)
    for name in ("cats/a.HEIC", "cats/b.heic", "notes.txt", "README"):
        (folder / name).write_text("no image")
    (folder / "dogs").symlink_to(tmp_path / "elsewhere")
    (folder / "cats" / "0.png").symlink_to(folder / "cats" / "a.png")  # twice
    (folder / "cats" / "all").symlink_to(folder)  # a circle
    dataset = datasets.load_dataset(folder, image_size=16)
    assert dataset.counts == {"cats": 2, "dogs": 2}
    assert capsys.readouterr().out == (
        "animals: 4 images of 16 x 16 x 1, pixels from 200 to 200, 2 classes (cats, dogs); left out: 3 hidden or of "
        "the system, 2 .heic, 2 linked twice, 1 .txt, 1 without a suffix\n")
    with pytest.raises(ValueError, match=r"cats.*: no images, only 1 \.heic; wanted files .*convert them"):
        (tmp_path / "cats").mkdir()
        (tmp_path / "cats" / "a.heic").touch()
        datasets.load_dataset(tmp_path / "cats")


def test_loose_images_have_no_labels(tmp_path, make_images):
    for i, image in enumerate(make_images(3)):
        save_image(image[..., 0], tmp_path / f"{i}.png")
    dataset = datasets.load_dataset(str(tmp_path), image_size=16)
    np.testing.assert_array_equal(dataset.images, make_images(3))
    assert dataset.labels is None


def test_loose_images_beside_sub_folders_are_refused(tmp_path):
    for name in ("cats/a.png", "stray.png"):
        save_image(np.zeros((9, 9), np.uint8), tmp_path / name)
    with pytest.raises(ValueError, match="stray.png"):
        datasets.load_dataset(tmp_path)


def test_greys_stay_grey_in_every_mode(tmp_path):
    grey = Image.fromarray(np.full((16, 16), 200, np.uint8))
    for mode in ("L", "LA", "RGB", "RGBA", "P"):
        save_image(grey.convert(mode), tmp_path / f"{mode}.png")
    save_image(grey.convert("1", dither=Image.Dither.NONE), tmp_path / "z.png")
    dataset = datasets.load_dataset(tmp_path, image_size=16)
    assert dataset.image_shape == (16, 16, 1)
    assert dataset.images[:, 0, 0, 0].tolist() == [200] * 5 + [255]


def test_one_colour_image_makes_all_of_them_rgb(tmp_path):
    save_image(np.full((16, 16), 200, np.uint8), tmp_path / "a.png")
    save_image(stripes(16, 16, RED), tmp_path / "b.png")
    images = datasets.load_dataset(tmp_path, image_size=16).images
    assert images.shape == (2, 16, 16, 3)
    assert images[0, 3, 3].tolist() == [200] * 3 and images[1, 3, 3].tolist() == list(RED)


@pytest.mark.parametrize("upright", [False, True])
def test_image_is_cropped_to_its_central_square(upright, tmp_path):
    image = stripes(96, 32, RED, GREEN, BLUE)
    pixels = load_one(tmp_path, image.rotate(90, expand=True) if upright else image)
    assert abs(pixels.astype(int) - GREEN).max() < 40 and (pixels[4:-4, 4:-4] == GREEN).all()


@pytest.mark.parametrize("size", [8, 16, 24, 50])
def test_image_is_resized_and_not_mirrored(size, tmp_path):
    pixels = load_one(tmp_path, stripes(24, 24, RED, BLUE), size=size)
    assert pixels.shape == (size, size, 3)
    assert abs(pixels[:, 1].astype(int) - RED).max() < 3 and abs(pixels[:, -2].astype(int) - BLUE).max() < 3


def test_resizing_smooths_instead_of_dropping_pixels(tmp_path):
    checkers = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = load_one(tmp_path, checkers, size=16)
    assert abs(pixels[2:-2, 2:-2].astype(int) - 127).max() < 16


def test_transparency_is_put_on_white_with_a_palette_too(tmp_path):
    image = np.zeros((16, 16, 4), np.uint8)
    image[..., 0] = 255
    image[8:, :, 3] = 128
    pixels = load_one(tmp_path, image)
    assert pixels[2, 2].tolist() == [255, 255, 255]
    assert pixels[-2, 2].tolist() == [255, 127, 127]
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 10, 120, 230])
    image.paste(0, (0, 0, 8, 16))
    pixels = load_one(tmp_path, image, transparency=0)
    assert pixels[5, 1].tolist() == [255, 255, 255] and pixels[5, -2].tolist() == [10, 120, 230]


def test_sixteen_bit_image_is_scaled_and_not_clipped(tmp_path):
    levels = np.array([0, 10, 100, 127, 200, 255])
    image = np.repeat(levels * 257, 4)[None].repeat(24, axis=0).astype(np.uint16)
    pixels = load_one(tmp_path, image, size=24)
    assert pixels.shape == (24, 24, 1) and pixels[12, ::4, 0].tolist() == levels.tolist()


def test_photo_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    pixels = load_one(tmp_path, stripes(32, 32, (0, 0, 0), (255, 255, 255)), "photo.jpg", exif=exif, quality=95)
    assert pixels[:6].max() < 30 and pixels[-6:].min() > 225


@pytest.mark.parametrize("share", [0, 0.6])
def test_unreadable_image_is_named(share, tmp_path, make_images):
    save_image(make_images(1)[0, ..., 0], tmp_path / "good.png")
    save_image(make_images(1, 64)[0, ..., 0], tmp_path / "torn.png")
    truncate(tmp_path / "torn.png", share)
    with pytest.raises(ValueError, match=r"torn\.png.*not readable as an image"):
        datasets.load_dataset(tmp_path)


@pytest.mark.parametrize("count, names", [(2, "a0.png, a1.png"), (12, "a0.png, a1.png, .*a7.png and 2 more")])
def test_all_unreadable_images_are_named(count, names, tmp_path, make_images):
    for name in ("a", "b"):
        for i in range(count):
            save_image(make_images(1)[0, ..., 0], tmp_path / f"{name}{i}.png")
    for i in range(count - 1):
        truncate(tmp_path / f"a{i}.png")
    (tmp_path / f"a{count - 1}.png").unlink()
    (tmp_path / f"a{count - 1}.png").symlink_to(tmp_path / "moved.png")
    with pytest.raises(ValueError, match=rf"{count} of {2 * count} files are not readable as an image: {names} \(the "
                                         r"first: .*\); repair or remove them") as caught:
        datasets.load_dataset(tmp_path)
    assert len(str(caught.value)) - len(str(tmp_path)) < 300


@pytest.mark.parametrize("width, fits", [(16, True), (24, True), (40, False)])
@pytest.mark.filterwarnings("error")
def test_image_of_too_many_pixels_is_refused_and_one_of_many_is_read(width, fits, tmp_path, monkeypatch):
    save_image(np.full((16, width), 200, np.uint8), tmp_path / "panorama.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    if fits:
        assert datasets.load_dataset(tmp_path, image_size=16).images.shape == (1, 16, 16, 1)
    else:
        with pytest.raises(ValueError, match=r"panorama\.png: .*more than 600 pixels: make it smaller"):
            datasets.load_dataset(tmp_path, image_size=16)


def test_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"no images.*\.png"):
        datasets.load_dataset(tmp_path)


@pytest.mark.parametrize("size", [0, -1, 16.0, "16", True])
def test_illegal_image_size_is_refused(size, tmp_path):
    save_image(np.zeros((9, 9), np.uint8), tmp_path / "a.png")
    with pytest.raises(ValueError, match="image_size is"):
        datasets.load_dataset(tmp_path, image_size=size)


def write_mat(path, images, labels, **options):
    scipy.io.savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": labels}, **options)
    return path


def test_folder_csv_and_mat_have_no_split(tmp_path, house_numbers):
    save_image(np.zeros((9, 9), np.uint8), tmp_path / "folder" / "a.png")
    for path in (tmp_path / "folder", write_csv(tmp_path, csv_text()), write_csv(tmp_path, csv_text(), "train.csv.gz"),
                 write_mat(tmp_path / "a.mat", *house_numbers)):
        with pytest.raises(ValueError, match=f"{path.name}: .*no split of its own; load the test images by their own"):
            datasets.load_dataset(path, split="test")
        assert datasets.load_dataset(path, split="train").name == ""


def test_axes_and_labels_are_put_in_order(tmp_path, house_numbers):
    images, labels = house_numbers
    data = datasets.load_dataset(write_mat(tmp_path / "train_32x32.mat", images, labels))
    np.testing.assert_array_equal(data.images, images)
    np.testing.assert_array_equal(data.labels, [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 2)
    assert data.class_names == tuple("0123456789") and data.images.flags.c_contiguous


@pytest.mark.parametrize("share", [0.0, 0.02, 0.4, 0.9, 0.999])
@pytest.mark.parametrize("compressed", [False, True])
def test_truncated_file_is_named(share, compressed, tmp_path, house_numbers):
    path = write_mat(tmp_path / "train_32x32.mat", *house_numbers, do_compression=compressed)
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"train_32x32\.mat: (corrupt or truncated|has no )"):
        datasets.load_dataset(path)


@pytest.mark.parametrize("content", [b"text, no .mat file at all", bytes(500), bytes(124) + b"\x00\x02IM"],
                         ids=["text", "zeros", "version 7.3"])
def test_file_of_another_kind_is_named(content, tmp_path):
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train_32x32\.mat: corrupt or truncated, or not in the format of MATLAB 5 "):
        datasets.load_dataset(path)


def test_arrays_of_other_names_are_left_out_and_it_is_said(tmp_path, house_numbers, capsys):
    X, y = house_numbers[0].transpose(1, 2, 3, 0), house_numbers[1]
    scipy.io.savemat(tmp_path / "a.mat", {"X": X, "y": y, "extra": y, "box": y})
    np.savez(tmp_path / "a.npz", x_train=house_numbers[0], y_train=y, x_test=house_numbers[0], extra=y)
    for name, left_out in (("a.mat", "extra, box"), ("a.npz", "extra")):
        datasets.load_dataset(tmp_path / name)
        out = capsys.readouterr().out
        assert out.startswith(f"{name}: 20 images of 32 x 32 x 3, pixels from ") and out.count("\n") == 1
        assert out.endswith(f"; left out: {left_out}\n")


@pytest.mark.parametrize("kept, message", [("y", "has no X"), ("X", "has no y"), ("", "has no X and no y")])
def test_missing_array_is_named_with_those_there_are(kept, message, tmp_path, house_numbers):
    arrays = {"X": house_numbers[0].transpose(1, 2, 3, 0), "y": house_numbers[1], "other": 1}
    scipy.io.savemat(tmp_path / "a.mat", {name: arrays[name] for name in ("other", *kept)})
    with pytest.raises(ValueError, match=rf"a\.mat: {message} \(it has .*other.*\); wanted the layout of SVHN"):
        datasets.load_dataset(tmp_path / "a.mat")


LABELS_WANTED = "wanted a whole number from 1 to 10 for each, 10 for the digit 0"


@pytest.mark.parametrize("change, message", [
    ({"X": lambda X: X[:16]}, r"X has the shape \(.*\); wanted \(side, side, 3, n\)"),
    ({"X": lambda X: X[:, :, :2]}, r"X has the shape \(.*\); wanted \(side, side, 3, n\)"),
    ({"X": lambda X: X.astype(int) + 200}, "range from"),
    ({"y": lambda y: np.arange(20) % 10}, LABELS_WANTED),
    ({"y": lambda y: np.arange(1, 21)}, LABELS_WANTED),
    ({"y": lambda y: np.ones(19)}, LABELS_WANTED),
    ({"y": lambda y: np.eye(10)[y[:, 0] - 1]}, r"y has the shape \(20, 10\) .*" + LABELS_WANTED),
    ({"y": lambda y: np.full(20, 1.5)}, LABELS_WANTED),
    ({"y": lambda y: np.full(20, np.nan)}, LABELS_WANTED),
], ids=["not square", "two channels", "pixels", "a label 0", "labels up to 20", "one too few", "one-hot", "fractions",
        "NaN"])
def test_mat_of_other_content_is_refused(change, message, tmp_path, house_numbers):
    arrays = {"X": house_numbers[0].transpose(1, 2, 3, 0), "y": house_numbers[1]}
    scipy.io.savemat(tmp_path / "a.mat", arrays | {name: make(arrays[name]) for name, make in change.items()})
    with pytest.raises(ValueError, match=rf"a\.mat: .*{message}"):
        datasets.load_dataset(tmp_path / "a.mat")
