"""`spikedrf explore` without a browser: state, view, page and server."""

import json
import math
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from urllib.parse import urljoin, urlsplit

import numpy as np
import pytest

from command_line import explore_server, run
from spikedrf import GradientStep, theory
from spikedrf.explore.state import MOST_GROUPS, State
from spikedrf.explore.view import view

OTHER = State(
    alpha=1.3,
    beta=0.7,
    lam=1e-3,
    noise=0.25,
    eta=1.0 / 3.0,
    alpha0=math.inf,
    activation="relu",
    target="hermite2",
    u=(1.0, -0.5),
    pi=(0.25, 0.75),
)
SIGNS = State(loss="logistic", labels="sign", activation="erf")
FIGURES = ("curve", "function", "density")
SMALL_BATCH = State(alpha0=0.5, target="tanh", bulk="network")


@pytest.mark.parametrize("state", [State(), OTHER])
def test_an_address_holds_the_whole_state(state):
    assert State.from_query(state.query()) == state
    assert State.from_query(state.query(), default=OTHER) == (
        state if state.pi else State.from_query(state.query() + "&pi=0.25,0.75")
    )


def test_what_an_address_does_not_say_is_as_before():
    assert State.from_query("", OTHER) == OTHER
    assert State.from_query("eta=2&u=1,+3", OTHER).u == (1.0, 3.0)
    assert State.from_arguments({"lam": [b"0.5"]}, OTHER).lam == 0.5


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("eta=x", "eta must be a number, got 'x'"),
        ("eta=nan", "eta must be a number, got 'nan'"),
        ("lam=0", "lam must be 1e-08 to 1000, got 0"),
        ("eta=1&eta=2", "eta is given 2 times"),
        ("rho=1", "there is no parameter 'rho'"),
        ("activation=exp", "activation must be one of tanh, "),
        ("bulk=none", "bulk must be one of isotropic, network, got 'none'"),
        ("u=", "u must have 1 to 5 values, got 0"),
        ("u=1,2,3,4,5,6", "u must have 1 to 5 values, got 6"),
        ("u=1,x", "u must be a number, got 'x'"),
    ],
)
def test_addresses_that_are_not_understood(query, message):
    assert MOST_GROUPS == 5
    with pytest.raises(ValueError, match=message):
        State.from_query(query)


@pytest.mark.parametrize("state", [State(), OTHER, SMALL_BATCH])
def test_the_view_is_the_theory(state):
    shown = view(state)
    model = {"beta": state.beta, "lam": state.lam, "noise": state.noise}
    model |= {"activation": state.activation, "target": state.target}
    step = GradientStep(state.eta, state.alpha0, u=list(state.u), pi=list(state.pi) or None)
    expected = theory.solve(shown.alpha, step=step, bulk=state.bulk, **model)
    np.testing.assert_allclose(shown.with_step, expected.test_error, rtol=1e-12)
    here = theory.solve(state.alpha, step=step, bulk=state.bulk, **model)
    assert shown.here == pytest.approx(here.test_error, rel=1e-12)
    np.testing.assert_allclose(shown.learned, here.learned_along_target(shown.s), rtol=1e-12)
    without = theory.solve(shown.alpha, **model)
    np.testing.assert_allclose(shown.without_step, without.test_error, rtol=1e-12)
    assert shown.lost == 0
    del model["lam"]
    model |= {"step": step, "bulk": state.bulk}
    spectrum = theory.spectrum(shown.spectrum.x, alpha=state.alpha, **model)
    np.testing.assert_allclose(shown.spectrum.density, spectrum.density, rtol=1e-3, atol=1e-4)
    assert shown.spectrum.mass == pytest.approx(1.0, abs=0.02)
    assert shown.spectrum_without.mass == pytest.approx(1.0, abs=0.02)
    if state == State():
        np.testing.assert_allclose(shown.target, np.sin(shown.s), rtol=1e-12)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (
            "product",
            "γ = 0 0: it has not turned towards the target. What is learned along this "
            "line is 0, as the target is.",
        ),
        (
            "cos",
            "γ = 0: it has not turned towards the target. What is learned along this line is 0.",
        ),
    ],
)
def test_what_is_not_learned_is_zero_and_said(target, sentence):
    """Not rounding of size 1e-17, blown up to fill the picture."""
    _, document = page(State(target=target))
    functions = document.get_model_by_name("functions").data
    assert not functions["learned"].any()
    assert not functions["learned_without"].any()
    assert sentence in document.get_model_by_name("facts").text
    _, document = page(State())
    assert document.get_model_by_name("functions").data["learned"].any()
    for words in ("not turned", "What is learned"):
        assert words not in document.get_model_by_name("facts").text


def test_points_without_the_accuracy_are_counted(monkeypatch):
    from dataclasses import replace

    original = theory.solve

    def doubtful(*args, **kwargs):
        solution = original(*args, **kwargs)
        return replace(solution, success=np.zeros_like(solution.success))

    monkeypatch.setattr(theory, "solve", doubtful)
    assert view(State()).lost == 122


@pytest.mark.parametrize("state", [State(), OTHER, SMALL_BATCH, SIGNS])
def test_what_is_copied_gives_the_same_numbers(capsys, state):
    shown = view(state)
    names = {}
    exec(state.python(), names)
    capsys.readouterr()
    np.testing.assert_array_equal(names["alpha"], shown.alpha)
    np.testing.assert_array_equal(names["with_step"], shown.with_step)
    np.testing.assert_array_equal(names["without_step"], shown.without_step)
    np.testing.assert_array_equal(names["learned"], shown.learned)
    np.testing.assert_array_equal(names["spectrum"].x, shown.spectrum.x)
    np.testing.assert_array_equal(names["spectrum"].density, shown.spectrum.density)
    assert names["here"].test_error == shown.here
    program, command = state.command().split(" ", 1)
    assert program == "spikedrf"
    _, out, _ = run(capsys, "", *shlex.split(command), "--json")
    result = json.loads(out)
    np.testing.assert_allclose(result["alpha"], [*shown.alpha, state.alpha], rtol=1e-14)
    expected = [*shown.with_step, shown.here]
    np.testing.assert_allclose(result["with_step"]["test_error"], expected, rtol=1e-12)


# --------------------------------------------------------------------------------------------------
# With Bokeh, in this process


def page(state):
    pytest.importorskip("bokeh")
    from bokeh.document import Document

    from spikedrf.explore.page import Page

    document = Document()
    return Page(document, state), document


def tick(document):
    for callback in document.session_callbacks:
        document.remove_next_tick_callback(callback)
        callback.callback()


def test_widgets_change_the_pictures():
    shown, document = page(State())
    model = document.get_model_by_name
    before = view(State())
    np.testing.assert_array_equal(model("curves").data["with_step"], before.with_step)
    changes = [
        ("eta", 6.0, {"eta": 6.0}),
        ("lam", -2.0, {"lam": 0.01}),
        ("alpha0", 3.1, {"alpha0": math.inf}),
        ("target", "relu", {"target": "relu"}),
        ("u", "1, -1", {"u": (1.0, -1.0)}),
        ("pi", "0.3 0.7", {"pi": (0.3, 0.7)}),
    ]
    expected = dict(vars(State()))
    for name, value, change in changes:
        model(name).value = value
        expected |= change
    # All of them are drawn at once.
    assert len(document.session_callbacks) == 1
    tick(document)
    state = State(**expected)
    assert shown.state == state
    now = view(state)
    np.testing.assert_array_equal(model("curves").data["with_step"], now.with_step)
    np.testing.assert_array_equal(model("functions").data["learned"], now.learned)
    x, density = now.spectrum.x, now.spectrum.x * now.spectrum.density
    drawn = np.isin(x, model("spectrum").data["x"])
    np.testing.assert_array_equal(model("spectrum").data["density"], density[drawn])
    assert density[~drawn].max() < 0.01 * density.max()
    assert x[drawn].min() > 0
    assert model("point").data["error"] == [now.here, now.here_without]
    assert State.from_query(model("query").value) == state
    assert model("command").text == state.command()
    assert f"{now.here:.5g}" in model("facts").text


def test_an_activation_that_cannot_take_a_step_greys_what_cannot_be_drawn():
    """Nothing of other parameters stays; the network without a step is drawn."""
    _, document = page(State())
    model = document.get_model_by_name
    white = [model(name).background_fill_color for name in FIGURES]
    model("activation").value = "sign"
    tick(document)
    assert "sign" in model("message").text
    shown = view(State(activation="sign"))
    data = model("curves").data
    assert np.isnan(data["with_step"]).all()
    np.testing.assert_array_equal(data["without_step"], shown.without_step)
    assert np.isnan(model("functions").data["learned"]).all()
    assert len(model("spectrum").data["x"]) == 0
    assert len(model("spectrum_without").data["x"]) > 100
    grey = [model(name).background_fill_color for name in FIGURES]
    assert all(one != other for one, other in zip(white, grey, strict=True))
    model("activation").value = "tanh"
    tick(document)
    assert model("message").text == ""
    assert [model(name).background_fill_color for name in FIGURES] == white
    np.testing.assert_array_equal(model("curves").data["with_step"], view(State()).with_step)


def test_what_goes_badly_together_is_said():
    _, document = page(State())
    model = document.get_model_by_name
    model("bulk").value = "network"
    model("activation").value = "relu"
    model("steps").value = 2
    tick(document)
    assert model("message").text == ""  # errors after several steps are known, not the spectrum
    assert np.isfinite(model("curves").data["with_step"]).all()
    assert len(model("spectrum").data["x"]) == 0 < len(model("spectrum_without").data["x"])
    assert "theory.spectrum" not in State(steps=2, bulk="network").python()
    model("u").value = "1, -1"
    tick(document)
    assert "known for one value of u" in model("message").text
    model("bulk").value = "isotropic"
    model("steps").value = 1
    tick(document)
    model("u").value = "1, <b>"
    assert model("message").text == "u must be a number, got &#x27;&lt;b&gt;&#x27;"
    model("activation").value = "tanh"
    tick(document)
    assert model("message").text == ""
    # A loss for classes of labels that are none: nothing can be drawn, and nothing is.
    model("loss").value = "logistic"
    tick(document)
    assert "it needs labels=" in model("message").text
    assert all(len(column) == 0 for column in model("curves").data.values())
    assert model("facts").text == ""
    model("labels").value = "sign"
    tick(document)
    assert model("message").text == ""
    assert model("curve").yaxis.axis_label == "share of wrong signs"
    expected = view(State(activation="tanh", u=(1.0, -1.0), loss="logistic", labels="sign"))
    np.testing.assert_array_equal(model("curves").data["with_step"], expected.with_step)


def test_numbers_can_be_typed_and_everything_reset():
    shown, document = page(State(lam=0.5))
    model = document.get_model_by_name
    for name, text, value in (
        ("lam", "3e-7", 3e-7), ("eta", "33", 33.0), ("alpha0", "inf", math.inf), ("beta", "2", 2.0),
    ):  # fmt: skip
        model(f"{name}_typed").value = text
        assert getattr(shown.state, name) == value
        slider = model(name)
        assert slider.start <= slider.value <= slider.end
    assert model("lam").value == pytest.approx(math.log10(3e-7))
    assert model("infinite").active
    model("alpha0_typed").value = "5"
    assert (shown.state.alpha0, model("infinite").active) == (5.0, False)
    model("infinite").active = True
    assert (shown.state.alpha0, model("alpha0_typed").value) == (math.inf, "inf")
    model("infinite").active = False
    assert math.isfinite(shown.state.alpha0)
    for text in ("many", "", "1 2", "-1"):
        model("beta_typed").value = text
        assert model("message").text.startswith("beta must be ")
        assert shown.state.beta == 2.0
    model("eta").value = 1.25
    assert model("eta_typed").value == "1.25"
    from bokeh.events import ButtonClick

    model("reset")._trigger_event(ButtonClick(model("reset")))
    tick(document)
    assert shown.state == State(lam=0.5)
    assert model("message").text == ""
    assert (model("eta_typed").value, model("lam_typed").value) == ("3", "0.5")
    assert model("eta").value == 3.0
    np.testing.assert_array_equal(model("curves").data["with_step"], view(State(lam=0.5)).with_step)


def test_the_page_says_what_it_shows():
    _, document = page(State())
    assert "gradient step" in document.get_model_by_name("heading").text
    assert 'name="viewport"' in document.template
    for name in FIGURES:
        plot = document.get_model_by_name(name)
        assert plot.title.text
        # Inside the plot, not beneath it.
        assert plot.legend[0] in plot.center


def test_sliders_reach_what_they_show_first():
    state = State(eta=50.0, alpha=500.0, lam=1e-8, alpha0=5000.0, noise=3.0)
    _, document = page(state)
    for name in ("eta", "alpha", "lam", "alpha0", "noise", "beta"):
        slider = document.get_model_by_name(name)
        assert slider.start <= slider.value <= slider.end
    document.get_model_by_name("alpha0").value = document.get_model_by_name("alpha0").end
    tick(document)
    assert "alpha0=inf" in document.get_model_by_name("query").value


# --------------------------------------------------------------------------------------------------
# On the command line


def test_the_server():
    """It answers on loopback only, brings its own scripts, and ends with Ctrl-C."""
    pytest.importorskip("bokeh")
    with explore_server("--eta", "2") as (process, announced):
        assert (announced["schema"], announced["command"]) == (1, "explore")
        assert announced["parameters"]["eta"] == 2.0
        url = announced["url"]
        port, token = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/([\w-]{20,})/", url).groups()
        # Without the token there is nothing.
        for path in ("", "?eta=1", token[:-1], "static/js/bokeh.min.js"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=60)
        with urllib.request.urlopen(url, timeout=60) as answer:
            text = answer.read().decode()
        scripts = re.findall(r'<script [^>]*src="([^"]*)"', text)
        assert len(scripts) > 2
        assert all(urljoin(url, script).startswith(f"{url}static/") for script in scripts)
        assert "https://" not in text
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=10)
        command = [sys.executable, "-m", "spikedrf", "explore", "--port", port]
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert second.returncode == 2
        assert f"cannot listen on --address 127.0.0.1 --port {port}: " in second.stderr
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert err == "spikedrf explore: Ctrl-C ends it\n"


def websocket_answer(url, host, origin):
    """The status of the answer to a page of some origin that wants to talk to the server."""
    split = urlsplit(url)
    with socket.create_connection((split.hostname, split.port), timeout=60) as connection:
        lines = [
            f"GET {split.path}ws HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: bokeh, x",
            f"Origin: {origin}",
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(connection.recv(1000).split()[1])


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("127.0.0.1", ["127.0.0.1", "localhost"]),
        ("127.0.0.2", ["127.0.0.2"]),
        ("::1", ["[::1]", "localhost"]),
        ("0.0.0.0", [socket.gethostname(), "127.0.0.1", "localhost"]),
    ],
)
def test_only_its_own_page_talks_to_the_server(address, own):
    pytest.importorskip("bokeh")
    try:
        socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else 2).close()
    except OSError as error:
        pytest.skip(f"NO {address} ON THIS MACHINE, not tested there: {error}")
    with explore_server("--address", address) as (_, announced):
        url = announced["url"]
        port = urlsplit(url).port
        if address == "0.0.0.0":
            url = url.replace(socket.gethostname(), "127.0.0.1")
        strangers = ["evil.example", f"evil.example:{port}", f"127.0.0.3:{port}", "127.0.0.1:1"]
        for stranger in [*strangers, f"{own[0]}.evil.example:{port}", "null"]:
            for host in (f"{own[0]}:{port}", stranger):  # as if its name led here
                assert websocket_answer(url, host, f"http://{stranger}") == 403
        # What is missing now is the token of a session, which a page brings.
        for name in own:
            answer = websocket_answer(url, f"{name}:{port}", f"http://{name}:{port}")
            assert answer not in (403, 404)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--lam 0", "argument --lam: lam must be 1e-08 to 1000, got 0"),
        ("--eta -1", "argument --eta: eta must be 0 to 100, got -1"),
        ("--activation sign", "argument --activation: "),
        ("--target foo", "argument --target: target must be one of tanh, "),
        ("--u 1 2 3 4 5 6", "argument --u: u must have 1 to 5 values, got 6"),
        ("--pi 0.5 0.4 --u 1 2", "argument --pi: pi must sum to one"),
        ("--port 70000", "argument --port: must be 0 to 65535, got 70000"),
        ("--alpha x", "argument --alpha: invalid float value: 'x'"),
    ],
)
def test_misuse(capsys, arguments, message):
    status, out, err = run(capsys, f"explore {arguments}")
    assert (status, out) == (2, "")
    assert message in err


def test_without_bokeh(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    status, out, err = run(capsys, "explore")
    assert (status, out) == (2, "")
    assert "pip install 'spikedrf[explore]'" in err
