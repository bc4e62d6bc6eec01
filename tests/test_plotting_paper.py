"""Pictures in the sizes of a paper: their width, their fonts, and that nothing is cut off."""

import io

import numpy as np
import pytest

from spikedrf import GradientStep, SpikedRFRegressor, cli, theory
from spikedrf.plotting import (
    ErrorCurvesDisplay,
    FirstLayerDisplay,
    ForecastDisplay,
    LearnedFunctionDisplay,
    LearningCurveDisplay,
    PhaseDiagramDisplay,
    SpectrumDisplay,
    StepsDisplay,
)
from spikedrf.theory import PhaseDiagram

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.text import Text  # noqa: E402

STEP = GradientStep(eta=3.0, alpha0=20.0)
ALPHA = [0.3, 1.0, 3.0, np.inf]
TITLE = r"tanh on sin, $\eta = 3$, $\alpha_0 = 20$, $\beta = 1$, $\lambda = 0.1$, noise 0.25"
WIDTHS = {"paper": 3.3, "paper-wide": 6.9}


@pytest.fixture(scope="module")
def fitted():
    """A model of one step on rows of eight columns."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 8))
    y = np.sin(2.0 * X[:, 0]) + 0.1 * rng.standard_normal(300)
    return SpikedRFRegressor(60, n_steps=1, metric=None, random_state=0).fit(X, y), X, y


def phase(value_name="gain", **more):
    """A diagram whose labels are the longest there are."""
    x, y = np.geomspace(0.1, 10.0, 6), np.geomspace(0.1, 100.0, 5)
    value = np.geomspace(0.5, 20.0, 30).reshape(5, 6)
    names = {"x_name": "alpha", "y_name": "alpha0", "value_name": value_name}
    status = np.zeros(value.shape, dtype=np.int32)
    return PhaseDiagram(**names, x=x, y=y, value=value, success=status == 0, status=status, **more)


def displays(fitted, style):
    """One of each Display, by name."""
    model, X, y = fitted
    names = [f"a rather long name {i}" for i in range(8)]
    curves = {"no step": {"step": None}, "a label that no column of a paper holds": {"alpha0": 1.0}}
    point = {"alpha": 3.0, "lam": 0.1, "target": "sin"}
    solved = {"none": theory.solve(**point), "a longer one": theory.solve(**point, step=STEP)}
    curve = LearningCurveDisplay.from_theory(ALPHA, lam=0.1, target="sin", step=STEP)
    return {
        "curve": curve.plot(style=style, title=TITLE),
        "errors": ErrorCurvesDisplay.from_theory(
            "alpha", ALPHA, curves, lam=0.1, target="sin", eta=2.0, style=style
        ),
        "phase": PhaseDiagramDisplay(phase()).plot(style=style, title=TITLE),
        "learned": LearnedFunctionDisplay.from_theory(solved, target="sin", style=style),
        "along the spike": LearnedFunctionDisplay.from_estimator(model, X, y, style=style),
        "spectrum": SpectrumDisplay.from_theory(alpha=2.0, step=STEP, style=style),
        "first layer": FirstLayerDisplay.from_estimator(model, feature_names=names, style=style),
        "steps": StepsDisplay.from_estimator(model, feature_names=names, style=style),
        "forecast": ForecastDisplay.from_estimator(model, n=[100.0, 1000.0], style=style),
    }


def cut_off(figure):
    """Words that are not inside of the figure, after it was drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer, room = canvas.get_renderer(), figure.bbox
    hidden = set()  # labels of ticks beyond the ends of an axis
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        ticks = [*axis.majorTicks, *axis.minorTicks]
        hidden |= {tick.label1 for tick in ticks} - {t.label1 for t in axis._update_ticks()}
    outside = []
    for text in figure.findobj(Text):
        if text in hidden or not text.get_text().strip() or not text.get_visible():
            continue
        box = text.get_window_extent(renderer)
        if box.x0 < -1 or box.y0 < -1 or box.x1 > room.x1 + 1 or box.y1 > room.y1 + 1:
            outside.append((text.get_text(), box.extents.round().tolist()))
    return outside


@pytest.mark.parametrize("style", WIDTHS)
def test_nothing_is_cut_off_in_the_columns_of_a_paper(fitted, style):
    for name, display in displays(fitted, style).items():
        figure = display.figure_
        assert figure.get_figwidth() == pytest.approx(WIDTHS[style]), name
        assert cut_off(figure) == [], name


def test_letters_have_eight_points_and_lines_are_thin():
    display = LearningCurveDisplay.from_theory(ALPHA, lam=0.1, step=STEP, style="paper")
    display.figure_.canvas.draw()
    assert display.ax_.xaxis.label.get_size() == 8.0
    assert {text.get_size() for text in display.ax_.get_yticklabels()} == {8.0}
    assert display.lines_[0].get_linewidth() == pytest.approx(1.3)
    assert matplotlib.rcParams["font.size"] == 10.0  # nobody else's pictures change
    screen = display.plot()
    assert screen.figure_.get_figwidth() == 6.0
    assert screen.ax_.xaxis.label.get_size() == 10.0


def test_a_figure_that_is_made_small_afterwards_keeps_its_labels():
    display = PhaseDiagramDisplay(phase()).plot(title=TITLE)
    assert cut_off(display.figure_) == []
    assert "\n" not in display.ax_.get_xlabel()
    display.figure_.set_size_inches(3.3, 2.6)
    assert cut_off(display.figure_) == []
    assert "\n" in display.colorbar_.ax.get_ylabel()
    display.figure_.set_size_inches(8.0, 6.0)
    assert cut_off(display.figure_) == []
    assert "\n" not in display.colorbar_.ax.get_ylabel()
    assert display.ax_.get_title(loc="left") == TITLE


@pytest.mark.parametrize("style", ["screen", "paper"])
def test_fonts_are_fonts_in_every_file(style):
    display = LearningCurveDisplay.from_theory(ALPHA, lam=0.1, step=STEP, style=style)
    pdf, svg = io.BytesIO(), io.BytesIO()
    display.figure_.savefig(pdf, format="pdf")
    display.figure_.savefig(svg, format="svg")
    assert b"/Type3" not in pdf.getvalue()
    assert b"/FontFile2" in pdf.getvalue()  # TrueType
    assert b"test error</text>" in svg.getvalue()


def test_the_legend_says_what_has_no_number():
    diagram = phase("test_error")
    diagram.value[0, :2], diagram.value[0, 2] = np.inf, np.nan
    diagram.success[0, :4] = False
    for own in (True, False):
        ax = None if own else matplotlib.figure.Figure().add_subplot()
        display = PhaseDiagramDisplay(diagram).plot(ax)
        legend = display.ax_.get_legend() or display.figure_.legends[0]
        words = [text.get_text() for text in legend.get_texts()]
        assert words == [
            "hatched: not converged",
            "infinite: no limit without a ridge",
            "undefined: no number",
        ]


def test_a_style_that_is_none():
    with pytest.raises(ValueError, match="style must be one of 'screen', 'paper', 'paper-wide'"):
        LearningCurveDisplay.from_theory(ALPHA, lam=0.1, step=STEP, style="poster")


@pytest.mark.parametrize(
    "words",
    [
        "curve --alpha 0.5 1",
        "curve --alpha 0.5 1 --eta 1 2",
        "phase --alpha 0.5:2:3 --lam 0.1:1:3",
        "spectrum",
    ],
)
def test_the_command_line_draws_for_print(words, tmp_path, capsys):
    import matplotlib.image

    for style, width in (("paper", 990), ("paper-wide", 2070), ("screen", None)):
        file = tmp_path / f"{style}.png"
        args = [*words.split(), "--style", style, "--out", str(file)]
        assert cli.main(args) == 0
        pixels = matplotlib.image.imread(file).shape[1]
        assert pixels == (width or pixels), style
    assert pixels in (900, 1350)
    with pytest.raises(SystemExit):
        cli.main([*words.split(), "--style", "poster"])
    assert "choose from 'screen', 'paper', 'paper-wide'" in capsys.readouterr().err
