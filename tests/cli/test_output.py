"""Progress and tables."""

from gossamer.cli.output import Output
from gossamer.cli.progress import TrainingView
from gossamer.recipes.progress import Progress


def test_progress_without_a_terminal_is_plain_lines(capsys):
    progress = Progress(
        step=10, num_steps=20, epoch=1, epochs=2, loss=0.5, density=0.1, accuracy=0.875, seconds_left=61.0
    )
    with TrainingView("name") as view:
        view.step(progress)
        view.epoch(progress)
        view.say("resuming")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "epoch 1/2  step 10/20  density  10.0%  loss 0.5000  accuracy 87.50%  1 min 1 s left",
        "resuming",
    ]


def test_tables_are_not_cut_off(capsys):
    Output(False).table(["name", "n"], [["x" * 150, "1"]], right=["n"])
    assert "x" * 150 in capsys.readouterr().out


def test_json_goes_to_stdout_alone(capsys):
    output = Output(True)
    output.say("text")
    output.result({"a": 1})
    captured = capsys.readouterr()
    assert captured.out == '{"a": 1}\n'
    assert captured.err == "text\n"
