"""`spikedrf explore` in a real browser, headless Chromium."""

import json
import shlex
import shutil
import time

import numpy as np
import pytest

from command_line import explore_server, run
from spikedrf.explore.state import State
from spikedrf.explore.view import view

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
SLIDERS = ["eta", "alpha0", "alpha", "beta", "lam", "noise"]


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
    assert all(name.startswith(url) for name in loaded)
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
    first = middles(browser, "button.bk-btn")[0]
    pointer(browser, ("move_to_location", *first), ("click",))
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
