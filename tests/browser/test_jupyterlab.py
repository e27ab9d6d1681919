"""Notebooks 00 to 04 in JupyterLab, as a learner runs them: opened, emptied, Run All, and looked at.

All that was on the screen is kept as screenshots in `outputs/browser/`.
"""

import base64
import io
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "outputs" / "browser"
NOTEBOOKS = ["00_start_here", "01_data", "02_generator", "03_discriminator", "04_training"]
MINUTE = 60_000  # milliseconds; the limits below are for a busy machine
RICH = ("text/html", "image/gif", "image/png")  # more than text, in the order in which JupyterLab prefers them
TROUBLE = {"application/vnd.jupyter.stderr", "application/vnd.jupyter.error"}  # warnings, and exceptions as well
BROKEN_TEXT = re.compile(r"[.;:] - |`")  # a list that became one paragraph, half of an inline code

# Every cell of the open notebook: kind, prompt, kinds of output and their text, paragraphs, what is wider than its
# place on a laptop's page with the list of files open, and pictures.
CELLS = """() => [...document.querySelectorAll('.jp-Notebook .jp-Cell')].map(cell => {
    const all = selector => [...cell.querySelectorAll(selector)];
    return {
        code: cell.classList.contains('jp-CodeCell'),
        folded: Boolean(cell.querySelector('.jp-InputPlaceholder')),
        prompt: cell.querySelector('.jp-InputPrompt')?.textContent.trim(),
        kinds: all('.jp-OutputArea-output').map(output => output.dataset.mimeType),
        text: all('.jp-OutputArea-output').map(output => output.textContent).join('\\n'),
        paragraphs: all('.jp-MarkdownOutput p, .jp-MarkdownOutput li').map(paragraph => paragraph.innerText),
        cut: all('.jp-OutputArea-output, .jp-MarkdownOutput, .cm-scroller')
            .filter(part => part.scrollWidth > part.clientWidth + 1).map(part => part.innerText),
        images: all('img').map(image => ({address: image.src, width: image.naturalWidth})),
    };
})"""
EMPTY = """() => !document.querySelector('.jp-Notebook .jp-OutputArea-output')
    && ![...document.querySelectorAll('.jp-Notebook .jp-InputPrompt')].some(prompt => /\\d/.test(prompt.textContent))"""
AT_REST = """() => {
    const prompts = [...document.querySelectorAll('.jp-Notebook .jp-CodeCell .jp-InputPrompt')];
    return document.querySelector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
        && prompts.every(prompt => !prompt.textContent.includes('*'))
        && [...document.querySelectorAll('.jp-Notebook img')].every(image => image.complete);
}"""


class Lab:
    """JupyterLab with one notebook open and its kernel at rest, and what a user does with it."""

    def __init__(self, page, address, cells):
        self.page = page
        page.goto(address, timeout=3 * MINUTE)
        page.wait_for_function("count => document.querySelectorAll('.jp-Notebook .jp-Cell').length === count",
                               arg=cells, timeout=3 * MINUTE)  # they come a few at a time
        page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(timeout=3 * MINUTE)

    def choose(self, menu, item):
        self.page.get_by_role("menuitem", name=menu, exact=True).click()
        self.page.get_by_role("menuitem", name=item, exact=True).click()

    def clear_outputs(self):
        self.choose("Edit", "Clear Outputs of All Cells")
        self.page.wait_for_function(EMPTY)

    def change_line(self, old, new):
        """Click on a line of code and write another one in its place."""
        self.page.locator(".cm-line", has_text=re.compile(f"^{re.escape(old)}")).click()
        self.page.keyboard.press("Home")
        self.page.keyboard.press("Shift+End")
        self.page.keyboard.type(new)
        self.page.locator(".cm-line", has_text=re.compile(f"^{re.escape(new)}$")).wait_for()

    def start_all(self):
        """Choose Run All Cells; the first cell that is not folded waits, runs, or has ended, on return."""
        first = self.page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt:not(.jp-Placeholder-prompt)").first
        before = first.text_content()
        self.choose("Run", "Run All Cells")
        self.page.wait_for_function("([prompt, before]) => prompt.textContent !== before",
                                    arg=[first.element_handle(), before], timeout=MINUTE)

    def wait_until_at_rest(self):
        """No cell waits, because all have run or one has failed; the pictures are there."""
        self.page.wait_for_function(AT_REST, timeout=10 * MINUTE)

    def cell(self, number):
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def cells(self):
        return self.page.evaluate(CELLS)

    def take_screenshots(self, name):
        """The whole notebook, a screenful a file, into `outputs/browser/<name>/`."""
        folder = SCREENSHOTS / name
        shutil.rmtree(folder, ignore_errors=True)
        panel = self.page.locator(".jp-WindowedPanel-outer").first
        panel.evaluate("panel => { panel.scrollTop = 0; }")
        number, more = 0, True
        while more:
            number += 1
            self.page.screenshot(path=folder / f"{number:02}.png")
            more = panel.evaluate("panel => { const before = panel.scrollTop;"
                                  " panel.scrollTop += panel.clientHeight - 40; return panel.scrollTop > before; }")
        print(f"{folder.relative_to(ROOT)}: {number} screenshots")


@pytest.fixture
def open_notebook(browser_page, jupyterlab, course):
    """A function that opens a notebook in a fresh page and empties it, so that what appears was made now.

    It returns the `Lab` and the cells of the file, with the outputs that were committed.
    """
    def open_notebook(name):
        saved = nbformat.read(course / "notebooks" / f"{name}.ipynb", as_version=4).cells
        lab = Lab(browser_page, jupyterlab.address(f"notebooks/{name}.ipynb"), len(saved))
        lab.clear_outputs()
        return lab, saved
    yield open_notebook
    jupyterlab.stop_kernels()


def rich(cell):
    """The kinds of the tables and pictures that a committed cell shows."""
    kinds = [next((kind for kind in RICH if kind in output.get("data", {})), None) for output in cell.outputs]
    return [kind for kind in kinds if kind]


def trouble(cells):
    """Errors and warnings that the cells of the page show."""
    return [f"cell {number}: {cell['text']}" for number, cell in enumerate(cells) if TROUBLE & {*cell["kinds"]}]


def frames(image):
    """How many pictures lie in an image whose address is its data: more than 1 if it moves."""
    return Image.open(io.BytesIO(base64.b64decode(image["address"].partition(",")[2]))).n_frames


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_run_all_shows_what_the_committed_notebook_shows(open_notebook, name):
    lab, saved = open_notebook(name)
    lab.start_all()
    lab.wait_until_at_rest()
    lab.take_screenshots(name)
    shown = lab.cells()

    assert trouble(shown) == []
    prompts = [cell["prompt"] for cell in shown if cell["code"]]
    folded = [cell["folded"] for cell in shown if cell["code"]]
    assert folded == [bool(cell.metadata.get("jupyter", {}).get("source_hidden")) for cell in saved
                      if cell.cell_type == "code"]
    assert prompts == ["" if hidden else f"[{number}]:" for number, hidden in enumerate(folded, 1)], "not all have run"
    assert [cell["code"] for cell in shown] == [cell.cell_type == "code" for cell in saved]
    for number, (cell, as_saved) in enumerate(zip(shown, saved)):
        if cell["code"]:
            kinds = [kind for kind in cell["kinds"] if kind in RICH]
            assert kinds == rich(as_saved), f"cell {number} shows other tables or pictures than the committed notebook"
            assert len(cell["images"]) == sum(kind.startswith("image/") for kind in kinds), f"cell {number}"
        if "check" in as_saved.metadata.get("tags", []):
            assert "not yet" in cell["text"], f"cell {number}: an exercise is solved before it is begun"
    made = [image for cell in shown if cell["code"] for image in cell["images"]]
    assert sum(image["address"].startswith("data:image/png") for image in made) >= 4
    if name in ("00_start_here", "04_training"):
        assert [frames(image) > 1 for image in made if image["address"].startswith("data:image/gif")] == [True]

    assert shown[0]["images"], "no picture of the result at the top"
    assert [image["address"] for cell in shown for image in cell["images"] if not image["width"]] == [], "do not load"
    assert [text for cell in shown for text in cell["cut"]] == [], "wider than its place"
    broken = [text for cell in shown for text in cell["paragraphs"] if BROKEN_TEXT.search(text)]
    assert broken == [], "lists or code that the page does not show as such"


def test_picture_is_drawn_anew_in_its_place_while_the_nets_train(open_notebook):
    lab, saved = open_notebook("00_start_here")
    number = next(number for number, cell in enumerate(saved) if "screen.update(" in cell.source)
    lab.start_all()
    picture, seen = lab.cell(number).locator("img"), set()
    for _ in range(600):
        picture.wait_for(timeout=3 * MINUTE)
        seen.add(picture.get_attribute("src"))
        if len(seen) == 5:
            break
        lab.page.wait_for_timeout(100)
    assert len(seen) == 5 and picture.count() == 1
    lab.wait_until_at_rest()


def test_training_that_the_keyboard_interrupts_goes_on_from_its_checkpoint(open_notebook):
    lab, saved = open_notebook("04_training")
    number = next(number for number, cell in enumerate(saved) if "history = runs.train(" in cell.source)
    training, output = lab.cell(number), lab.cell(number).locator(".jp-OutputArea")
    lab.change_line("EPOCHS = 0", "EPOCHS = 100")  # with smoke mode's 256 images there is a checkpoint every 39
    lab.start_all()
    output.get_by_text(re.compile(r"epoch +39 ")).wait_for(timeout=10 * MINUTE)
    training.locator(".jp-InputPrompt").click()
    lab.page.keyboard.press("i")
    lab.page.keyboard.press("i")
    output.get_by_text(re.compile("^KeyboardInterrupt: ", re.M)).wait_for(timeout=3 * MINUTE)
    lab.wait_until_at_rest()
    lab.page.screenshot(path=SCREENSHOTS / "04_training_interrupted.png")
    text = lab.cells()[number]["text"]
    said = re.search(r"^KeyboardInterrupt: .* up to epoch (\d+) are kept in .* Train again .* to go on", text, re.M)
    assert said and 39 <= int(said[1]) < 100, text
    assert not lab.cells()[-1]["prompt"].strip("[]: "), "the cells after an interrupted one do not run"

    lab.start_all()
    lab.wait_until_at_rest()
    training.scroll_into_view_if_needed()
    lab.page.screenshot(path=SCREENSHOTS / "04_training_gone_on.png")
    shown = lab.cells()
    assert f"going on after epoch {said[1]}." in shown[number]["text"]
    epochs = [int(epoch) for epoch in re.findall(r"^epoch +(\d+) ", shown[number]["text"], re.M)]
    assert epochs == list(range(int(said[1]) + 1, 101))
    gif = next(index for index, cell in enumerate(saved) if "training.gif" in cell.source and cell.cell_type == "code")
    assert [frames(image) for image in shown[gif]["images"]] == [10], (
        "before training, after 4, 8, 16, 32, 64 and 128 steps, after epochs 39, 78 and 100")
    assert trouble(shown) == []
