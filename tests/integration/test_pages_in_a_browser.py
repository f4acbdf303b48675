"""Every page in a browser, on a wide screen and on a phone, light and dark: looked at and measured.

The pictures are kept where `$TWOTOWER_PICTURES` says, by default in pytest's own directory.
axe-core is the stranger that judges contrast, headings and keyboard reach as well.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.fixtures.planted_pages import State, comparison, report

pytestmark = pytest.mark.integration
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core")

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_BROWSER = os.environ.get("CHROME") or next(filter(None, map(shutil.which, _NAMES)), None)
WIDTHS = (1440, 390)
MEASURE = (Path(__file__).parent / "measure_page.js").read_text(encoding="utf-8")
MANY = (1, 2, 3, 4, 5, 6, 7, 8)

PAGES = {
    "report": [
        State("ahead", 5, cascade=True),
        State("level", 2),
        State("behind", 20, long=True, cascade=True, ks=MANY),
    ],
    "comparison": [State("ahead", 2, cascade=True), State("behind", 20, long=True)],
}
EVERY = {
    kind: [
        state
        for standing in ("ahead", "level", "behind")
        for num_systems in (2, 5, 20)
        for long in (False, True)
        for cascade in (False, True)
        if (state := State(standing, num_systems, long, cascade)) not in PAGES[kind]
        and not (kind == "report" and cascade and num_systems == 2)
    ]
    for kind in PAGES
}
EVERY["report"].append(State("level", 1))  # no baseline, as in the later seeds of a comparison
RENDER = {"report": report, "comparison": comparison}


@pytest.fixture(scope="module")
def browser():
    if _BROWSER is None:
        pytest.skip(f"no browser: set $CHROME, or install one of {', '.join(_NAMES)}")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=_BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    kept = os.environ.get("TWOTOWER_PICTURES")
    directory = Path(kept) if kept else tmp_path_factory.mktemp("pictures")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def look(browser, pictures, kind, state):
    """Takes the four pictures of a page, and returns what is wrong on each of them."""
    path = pictures / f"{kind}-{state.name}.html"
    path.write_text(RENDER[kind](state), encoding="utf-8")
    wrong = {}
    for width in WIDTHS:
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(path.as_uri())
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            picture = path.with_suffix(f".{width}-{scheme}.jpg")
            page.screenshot(path=picture, full_page=True, type="jpeg", quality=80)
        open_all(page)
        wrong[width, "dark"] = page.evaluate(MEASURE)
        page.emulate_media(color_scheme="light")
        wrong[width, "light"] = page.evaluate(MEASURE) + unreached(page)
        if width == WIDTHS[-1]:  # dear, and by far the most of what it judges is alike on both
            wrong[width, "light"] += judged_by_axe(page)
        page.close()
    return {screen: found for screen, found in wrong.items() if found}


def open_all(page):
    """Opens every part of a page that can be folded."""
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")


def judged_by_axe(page):
    """What axe-core finds wrong with an open page."""
    # A picture has thousands of points, and `MEASURE` has measured its text.
    options = {"resultTypes": ["violations"]}
    answer = axe.Axe().run(page, context={"exclude": ["svg"]}, options=options).response
    return [
        f"axe {rule['id']}: {node['html'][:120]}"
        for rule in answer["violations"]
        for node in rule["nodes"][:3]
    ]


def unreached(page):
    """Regions that scroll and that Tab does not reach, or whose focus cannot be seen or moved."""
    waiting = page.evaluate(
        """() => {
          const regions = [...document.querySelectorAll('*')].filter(
            e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX === 'auto');
          regions.forEach((region, place) => region.dataset.scrolls = place);
          return regions.length;
        }"""
    )
    reached = set()
    for _ in range(300):
        page.keyboard.press("Tab")
        focus = page.evaluate(
            """() => {
              const e = document.activeElement;
              return {body: e === document.body, place: e.dataset.scrolls ?? null,
                      outline: getComputedStyle(e).outlineStyle, name: e.outerHTML.slice(0, 80)};
            }"""
        )
        if focus["body"]:
            break
        if focus["outline"] == "none":
            return [f"focus cannot be seen: {focus['name']}"]
        if focus["place"] is not None and focus["place"] not in reached:
            reached.add(focus["place"])
            if len(reached) == 1:
                page.keyboard.press("ArrowRight")
                page.wait_for_function("document.activeElement.scrollLeft > 0", timeout=3000)
    return [] if len(reached) == waiting else [f"Tab reaches {len(reached)} of {waiting} regions"]


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        pytest.param(kind, state, id=f"{kind}-{state.name}", marks=marks)
        for states, marks in ((PAGES, ()), (EVERY, pytest.mark.slow))
        for kind in states
        for state in states[kind]
    ],
)
def test_a_page_can_be_read_on_every_screen(browser, pictures, kind, state):
    assert look(browser, pictures, kind, state) == {}


FAULTS = {
    "overlap": "<p style='margin:0'>one text</p><p style='margin:-1.5em 0 0'>another text</p>",
    "wider than the screen": "<p style='width:2000px'>wide</p>",
    "contrast": "<p style='color:#999'>pale</p>",
    "contrast 1.9": "<svg width='90' height='20'><text y='15' fill='#bbb'>pale</text></svg>",
    "h3 after h1": "<h3>skips a level</h3>",
    "empty th": "<table><tr><th></th><th>name</th></tr></table>",
    "Tab reaches 0 of 1": (
        "<div style='width:90px;overflow-x:auto;white-space:nowrap' tabindex='-1'>"
        "a line that is longer than its box</div>"
    ),
    "no hint": (
        "<div class='view'><div class='scroll' tabindex='0' role='region' aria-label='x' "
        "style='width:90px;overflow-x:auto;white-space:nowrap'>longer than its box</div></div>"
    ),
    "leads nowhere": "<a href='#missing'>link</a>",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(browser, fault):
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.set_content(
        "<!doctype html><html lang='en'><title>t</title><body style='background:#fff;color:#000'>"
        f"<style>:focus {{ outline: 2px solid }}</style><main><h1>Title</h1>{FAULTS[fault]}"
        "</main></body></html>"
    )
    found = page.evaluate(MEASURE) + unreached(page)
    assert any(fault in problem for problem in found)
    page.close()
