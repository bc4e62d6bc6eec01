"""`spikedrf explore` in a real browser, headless Chromium."""

import base64
import io
import json
import shlex
import shutil
import time

import numpy as np
import pytest

from command_line import explore_server, run
from spikedrf.explore.state import State
from spikedrf.explore.view import view
from spikedrf.plotting.style import BLUE, VERMILLION

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MODEL = "Bokeh.documents[0].get_model_by_name"
# Middles of the elements that match, in the order of the page, through Bokeh's shadow roots.
MIDDLES = """
const [selector, found] = [arguments[0], []];
(function search(node) {
  for (const element of node.querySelectorAll('*')) {
    if (element.matches(selector)) found.push(element.getBoundingClientRect());
    if (element.shadowRoot) search(element.shadowRoot);
  }
})(document);
return found.map(box => [Math.round(box.x + box.width / 2), Math.round(box.y + box.height / 2)]);
"""
BUTTON = """
const label = arguments[0];
let found = null;
(function search(node) {
  for (const element of node.querySelectorAll('*')) {
    if (element.matches('button') && element.innerText === label) found = element;
    if (element.shadowRoot) search(element.shadowRoot);
  }
})(document);
found.scrollIntoView({block: 'center'});
const box = found.getBoundingClientRect();
return [Math.round(box.x + box.width / 2), Math.round(box.y + box.height / 2)];
"""
# What a visitor can touch, or see: where it is, and whether something lies over its middle.
VISIBLE = """
const [selectors, found] = [arguments[0], []];
(function search(node) {
  for (const element of node.querySelectorAll('*')) {
    if (element.matches(selectors)) {
      element.scrollIntoView({block: 'center'});
      const box = element.getBoundingClientRect();
      if (!element.checkVisibility()) continue;  // the state of the page, for the address alone
      const middle = [box.x + box.width / 2, box.y + box.height / 2];
      let top = document.elementFromPoint(...middle);
      while (top && top !== element && top.shadowRoot) {
        const inner = top.shadowRoot.elementFromPoint(...middle);
        if (!inner || inner === top) break;
        top = inner;
      }
      const covered = !(top && (top === element || element.contains(top) || top.contains(element)));
      found.push({tag: element.tagName, left: box.left, right: box.right, width: box.width,
                  top: box.top + scrollY, bottom: box.bottom + scrollY, covered: covered});
    }
    if (element.shadowRoot) search(element.shadowRoot);
  }
})(document);
return found;
"""
SLIDERS = ["eta", "alpha0", "steps", "alpha", "beta", "lam", "noise", "power"]


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip(
            "NO BROWSER: the page was not tested; install Chromium and its driver "
            "(Debian: chromium chromium-driver)"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.add_argument("--window-size=1500,1000")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(driver)
    with webdriver.Chrome(options=options, service=service) as browser:
        browser.set_page_load_timeout(60)
        yield browser


@pytest.fixture(scope="module")
def url():
    with explore_server() as (_, announced):
        yield announced["url"]


def wait(browser, script, *arguments, until=bool):
    """Wait for what a script returns; at most a minute, the limit is for a page that is dead."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        value = browser.execute_script(script, *arguments)
        if until(value):
            return value
        time.sleep(0.05)
    raise AssertionError(f"still {value!r}: {script}")


def opened(browser, url, query=""):
    browser.get(url + query)
    wait(browser, "return !!(window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle)")
    return browser


def text(browser, name):
    return browser.execute_script(f"return {MODEL}('{name}').text")


def curve(browser, name="with_step"):
    return np.array(
        browser.execute_script(f"return Array.from({MODEL}('curves').data.{name})"), dtype=float
    )


def middles(browser, selector):
    return browser.execute_script(MIDDLES, selector)


def pointer(browser, *actions):
    from selenium.webdriver.common.action_chains import ActionChains

    chain = ActionChains(browser, duration=50)
    for name, *where in actions:
        getattr(chain.w3c_actions.pointer_action, name)(*where)
    chain.perform()


def drag(browser, name, pixels):
    """Move the handle of a slider step by step; the address after each."""
    handles = middles(browser, ".noUi-handle")
    assert len(handles) == len(SLIDERS)
    x, y = handles[SLIDERS.index(name)]
    query = f"return {MODEL}('query').value"
    seen = [browser.execute_script(query)]
    pointer(browser, ("move_to_location", x, y), ("pointer_down",))
    for i in range(1, 5):
        pointer(browser, ("move_to_location", x + pixels * i // 4, y))
        seen.append(wait(browser, query, until=lambda now: now != seen[-1]))
    pointer(browser, ("pointer_up",))
    return seen[1:]


def test_the_page_loads_without_a_word_in_the_console(browser, url):
    opened(browser, url)
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert len(loaded) > 3
    assert [name for name in loaded if not name.startswith(url)] == []
    np.testing.assert_allclose(curve(browser), view(State()).with_step, rtol=1e-12)


def test_a_slider_moves_the_curve_while_it_is_dragged(browser, url, capsys):
    opened(browser, url)
    before = curve(browser)
    seen = drag(browser, "eta", 80)
    steps = [State.from_query(query).eta for query in seen]
    assert steps == sorted(steps)
    assert len(set(steps)) == 4  # it was redrawn on the way, not only at the end
    assert steps[0] > 3.0
    state = State.from_query(seen[-1])
    wait(browser, "return location.search", until=lambda query: query == f"?{seen[-1]}")
    after = curve(browser)
    assert np.abs(after / before - 1).max() > 0.1
    np.testing.assert_allclose(after, view(state).with_step, rtol=1e-12)

    # What stands there to be copied gives the numbers that are drawn.
    names = {}
    exec(text(browser, "python"), names)
    np.testing.assert_allclose(after, names["with_step"], rtol=1e-12)
    capsys.readouterr()
    _, *command = shlex.split(text(browser, "command"))
    _, out, _ = run(capsys, "", *command, "--json")
    result = json.loads(out)
    for name in ("with_step", "without_step"):
        np.testing.assert_allclose(
            curve(browser, name), result[name]["test_error"][:-1], rtol=1e-12
        )


def test_the_button_copies(browser, url):
    opened(browser, url)
    permission = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    browser.execute_cdp_cmd("Browser.grantPermissions", permission | {"origin": url.rstrip("/")})
    button = browser.execute_script(BUTTON, "copy the command line")
    pointer(browser, ("move_to_location", *button), ("click",))
    read = "return navigator.clipboard.readText()"
    wait(browser, read, until=lambda copied: copied == State().command())


def test_an_address_shows_what_it_says(browser, url):
    state = State(eta=1.5, alpha0=np.inf, target="relu", activation="relu", u=(1.0, -0.5))
    opened(browser, url, f"?{state.query()}")
    np.testing.assert_allclose(curve(browser), view(state).with_step, rtol=1e-12)
    assert text(browser, "command") == state.command()
    opened(browser, url, "?eta=lots")
    assert text(browser, "message").startswith("The address was not understood: eta must be a")
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []


# --------------------------------------------------------------------------------------------------
# On a phone, a tablet and a projector


@pytest.fixture
def sized(browser):
    def resize(width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    yield resize
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def pixels(browser, colour, box):
    """How many pixels of the page in a box have about this colour."""
    image = pytest.importorskip("matplotlib.image")
    clip = {"x": box["left"], "y": box["top"], "width": box["width"], "scale": 1}
    clip["height"] = box["bottom"] - box["top"]
    shot = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
    )
    picture = image.imread(io.BytesIO(base64.b64decode(shot["data"])), format="png")[..., :3]
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return int((np.abs(picture - wanted).max(axis=-1) < 0.06).sum())


def overlap(one, other):
    return (
        min(one["right"], other["right"]) - max(one["left"], other["left"]) > 1
        and min(one["bottom"], other["bottom"]) - max(one["top"], other["top"]) > 1
    )


@pytest.mark.parametrize(
    ("width", "height", "columns"), [(390, 844, 1), (768, 1024, 2), (1280, 800, 3)]
)
def test_everything_can_be_seen_and_touched(browser, url, sized, width, height, columns):
    sized(width, height)
    opened(browser, url)
    whole, shown = browser.execute_script(
        "const root = document.documentElement; return [root.scrollWidth, root.clientWidth]"
    )
    assert whole == shown
    assert width - 20 <= shown <= width  # a scrollbar may be beside it
    touched = browser.execute_script(VISIBLE, "input, select, button, .noUi-handle")
    # Seven numbers with slider and field, five words, two lists, and three buttons and infinity.
    assert len(touched) >= 7 * 2 + 5 + 2 + 4
    seen = browser.execute_script(VISIBLE, "h1, p, pre, .bk-Figure")
    assert {box["tag"] for box in seen} >= {"H1", "P", "PRE"}
    for box in (*touched, *seen):
        assert not box["covered"], box
        assert box["width"] > 0
        assert box["left"] >= -12  # the half of a handle at 0
        assert box["right"] <= width + 1
    plots = [box for box in seen if box["tag"] not in ("H1", "P", "PRE")]
    assert len(plots) == 3
    for box in plots:
        assert box["width"] >= 280
        for colour in (BLUE, VERMILLION):
            assert pixels(browser, colour, box) > 100  # lines and their legend
    lefts = {round(box["left"]) for box in plots} | {round(touched[0]["left"])}
    assert len(lefts) == (2 if columns == 1 else columns)  # on a phone, but for a margin
    for i, one in enumerate(plots):
        assert not any(overlap(one, other) for other in plots[i + 1 :])
    if columns == 1:
        # The learning curve is above the controls that change it, the others are beneath.
        first, *others = sorted(plots, key=lambda box: box["top"])
        tops = [box["top"] for box in touched]
        assert first["bottom"] <= min(tops)
        assert others[0]["top"] > touched[0]["top"]


def test_nothing_stale_is_left(browser, url):
    opened(browser, url, "?activation=sign")
    assert "cannot take a gradient step" in text(browser, "message")
    plots = browser.execute_script(VISIBLE, ".bk-Figure")
    for box in plots:
        assert pixels(browser, "#E4E4E4", box) > 20_000
        assert pixels(browser, VERMILLION, box) > 100
    # Only the legend still has the colour of what is not drawn.
    opened(browser, url)
    drawn = [pixels(browser, BLUE, box) for box in browser.execute_script(VISIBLE, ".bk-Figure")]
    opened(browser, url, "?activation=sign")
    grey = [pixels(browser, BLUE, box) for box in browser.execute_script(VISIBLE, ".bk-Figure")]
    assert all(3 * left < before for left, before in zip(grey, drawn, strict=True))


def test_a_number_is_typed_and_everything_reset(browser, url):
    opened(browser, url)
    browser.execute_script(f"{MODEL}('lam_typed').value = '3e-7'")
    query = f"return {MODEL}('query').value"
    wait(browser, query, until=lambda now: "lam=3e-07" in now)
    assert browser.execute_script(f"return {MODEL}('lam').value") == pytest.approx(np.log10(3e-7))
    wait(
        browser,
        "return Array.from(" + MODEL + "('curves').data.with_step)",
        until=lambda now: np.allclose(now, view(State(lam=3e-7)).with_step, rtol=1e-12),
    )
    pointer(browser, ("move_to_location", *browser.execute_script(BUTTON, "reset")), ("click",))
    wait(browser, query, until=lambda now: now == State().query())
    assert browser.execute_script(f"return {MODEL}('lam_typed').value") == "0.1"
