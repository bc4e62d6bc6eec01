"""Misuse of any command: status 2, a message that names the option, and nothing written."""

import pytest

from command_line import run

MISUSE = [
    ("", "COMMAND"),
    ("nonsense", "nonsense"),
    ("curve --lam -1", "argument --lam: lam must be >= 0"),
    ("curve --beta 0", "argument --beta: beta must be > 0"),
    ("curve --alpha -1", "argument --alpha: alpha must be > 0"),
    ("curve --alpha nan", "argument --alpha: alpha must be > 0"),
    ("curve --alpha 0:1:3", "argument --alpha: alpha must be > 0"),
    ("curve --noise -1", "argument --noise: "),
    ("curve --noise inf", "argument --noise: "),
    ("curve --eta inf", "argument --eta: "),
    ("curve --alpha0 -1", "argument --alpha0: "),
    ("curve --rtol 0", "argument --rtol: "),
    ("curve --lam x", "argument --lam: 'x' is neither a number nor MIN:MAX:N"),
    ("curve --activation foo", "argument --activation: "),
    ("curve --activation sign", "argument --activation: "),
    ("curve --target foo", "argument --target: target must be a callable or one of tanh, relu"),
    ("curve --pi 0.2 0.2 --u 1 2", "argument --pi: pi must sum to one"),
    ("curve --pi 0.5 0.5 --u 1 2 3", "argument --pi: pi has 2 readout groups"),
    ("curve --lam 0 --alpha 0.5", "argument --lam: lam = 0"),
    ("curve --alpha 1:2", "argument --alpha: '1:2' is neither"),
    ("curve --alpha 1:x:3", "argument --alpha: '1:x:3' is neither"),
    ("curve --alpha 1:inf:3", "argument --alpha: '1:inf:3' is neither"),
    ("curve --alpha 1:2:3:cubic", "argument --alpha: '1:2:3:cubic' is neither"),
    ("curve --alpha 1:2:3:log:log", "argument --alpha: '1:2:3:log:log' is neither"),
    ("curve --alpha 1:2:1", "argument --alpha: N must be 2 to"),
    ("curve --alpha 1:2:1000000000", "argument --alpha: N must be 2 to"),
    ("curve --alpha 0:2:3:log", "argument --alpha: MIN and MAX must be > 0"),
    ("curve --out curve.gif", "argument --out: 'curve.gif' must end in .png, .svg, .pdf, .csv"),
    ("curve --out curve", "argument --out: 'curve' must end in"),
    ("curve --out nowhere/curve.csv", "argument --out: 'nowhere/curve.csv' cannot be written"),
    ("curve --tar sin", "unrecognized arguments: --tar"),
    ("simulate --d 0", "argument --d: d must be >= 2, got 0"),
    ("simulate --d 1.5", "argument --d: invalid int value: '1.5'"),
    ("simulate --replicates 0", "argument --replicates: replicates must be >= 1"),
    ("simulate --n-test 0", "argument --n-test: n_test must be >= 1"),
    ("simulate --workers 0", "argument --workers: workers must be >= 1"),
    ("simulate --seed -1", "argument --seed: must be >= 0, got -1"),
    ("simulate --seed x", "argument --seed: invalid"),
    ("simulate --model theory", "argument --model: invalid choice: 'theory'"),
    ("simulate --alpha inf", "argument --alpha: alpha must be > 0 and finite"),
    ("simulate --alpha 0.01 --d 20", "argument --d: d = 20 is too small for alpha = 0.01"),
    ("simulate --alpha0 inf", "argument --alpha0: alpha0 = inf cannot be simulated"),
    ("simulate --d 100000000", "argument --d: d = 100000000, p = 100000000"),
    ("simulate --out c.xyz", "argument --out: 'c.xyz' must end in .png, .svg, .pdf, .csv"),
    ("simulate --rtol 1e-3", "unrecognized arguments: --rtol"),
    ("curve --simulate theory", "argument --simulate: invalid choice: 'theory'"),
    ("curve --simulate srf --alpha inf", "argument --alpha: alpha is empty"),
    ("curve --simulate srf --d -5", "argument --d: d must be >= 2"),
    ("curve --d 100", "argument --d: is for --simulate only"),
    ("curve --n-test 100", "argument --n-test: is for --simulate only"),
    ("curve --seed 0", "argument --seed: is for --simulate only"),
    ("phase --eta 3", "two parameters need a grid MIN:MAX:N, got 0 (none)"),
    ("phase --lam 1:2:3", "two parameters need a grid MIN:MAX:N, got 1 (lam)"),
    ("phase --lam 1:2:3 --eta 1:2:3 --beta 1:2:3", "got 3 (lam, eta, beta)"),
    ("phase --lam 1:2", "argument --lam: '1:2' is neither"),
    ("phase --u 1:2:3 --lam 1:2:3", "argument --u: invalid float value: '1:2:3'"),
    ("phase --lam=-1:2:3 --eta 1:2:3", "argument --lam: lam must be >= 0"),
    ("phase --noise 0:2:3 --alpha 0.5:0.6:2 --lam 0", "argument --lam: lam = 0"),
    ("phase --alpha0 1:2:2 --alpha 1:2:2 --noise -1", "argument --noise: noise must be >= 0"),
    ("phase --value error", "argument --value: invalid choice: 'error'"),
    ("phase --activation sign", "argument --activation: "),
    ("phase --rtol 0", "argument --rtol: "),
    ("phase --workers 0", "argument --workers: workers must be >= 1"),
    ("phase --out p.gif", "argument --out: 'p.gif' must end in .png, .svg, .pdf, .csv, .npz"),
    ("phase --checkpoint nowhere/c", "argument --checkpoint: 'nowhere/c' cannot be written"),
    ("phase --checkpoint c.csv --out c.csv", "argument --checkpoint: 'c.csv' is also in --out"),
    ("phase --lam 1:2:1000000 --eta 1:2:1000000", "the diagram would take 13000000000000 bytes"),
]


@pytest.mark.parametrize(("arguments", "message"), MISUSE, ids=[a for a, _ in MISUSE])
def test_misuse(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.splitlines()[-1].startswith("spikedrf")
    assert list(tmp_path.iterdir()) == []
