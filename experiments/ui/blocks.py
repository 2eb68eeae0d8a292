"""The page in gradio: a form on one side, the run on the other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from experiments.entry.experiment import Experiment
from experiments.ui.fields import Field, fields_of, words_of
from experiments.ui.runs import Runs
from experiments.ui.view import Views

__all__ = ["STYLE", "ui_blocks"]

OFTEN = 1.0  # seconds between two looks at a run
LOOKS = 30  # commits of a run, about, so that there is something to see
STYLE = files("experiments.ui").joinpath("ui.css").read_text(encoding="utf-8")


def ui_blocks(runs: Runs, experiments: Mapping[str, Experiment]) -> Any:
    """``gradio.Blocks`` over ``runs``, with a form for each of the ``experiments``."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported
    import gradio as gr

    from samplers import McmcTextError

    views = Views()
    how: Any = {"show_progress": "hidden", "api_visibility": "private"}

    def opened() -> Any:
        """The runs, and the one that is under way; where there is none, what is chosen already stays."""
        names, found = runs.names(), runs.under_way()
        return gr.Dropdown(choices=names, value=found) if found else gr.Dropdown(choices=names)

    def look(name: str | None, last: str) -> tuple[Any, Any, Any, Any]:
        """The run as it is now, and which buttons make sense; nothing where that is what is shown already."""
        if not name:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        try:
            status = runs.status(name)
            html = views.html(name, runs.path(name), status)
        except McmcTextError as error:
            raise gr.Error(str(error), print_exception=False) from error
        if html == last:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        resumes = status.state in ("stopped", "failed") and (runs.path(name) / "config.json").exists()
        stop, resume = gr.Button(interactive=status.is_under_way), gr.Button(interactive=resumes)
        return html, html, stop, resume

    def stop_run(name: str | None) -> None:
        if name:
            runs.stop(name)

    def resume_run(name: str | None) -> None:
        try:
            if name:
                runs.resume(name)
        except McmcTextError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def start(experiment: str, fields: list[Field], values: tuple[Any, ...]) -> Any:
        given = {each.argument.name: _text(value) for each, value in zip(fields, values, strict=True)}
        words = words_of(fields, given)
        try:
            name = runs.start(experiment, [*_often(experiments[experiment], given), *words])
        except McmcTextError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return gr.Dropdown(choices=runs.names(), value=name)

    with gr.Blocks(title="mcmc-text", analytics_enabled=False) as ui:
        last = gr.State("")
        run = gr.Dropdown(runs.names(), value=None, label="run", elem_id="run", filterable=False, render=False)
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                experiment = gr.Dropdown(list(experiments), value="keywords", label="experiment", elem_id="experiment")

                def draw_form(name: str) -> None:
                    fields = fields_of(experiments[name], runs.energies)
                    parts = {each.label: _component(gr, each) for each in fields if each.is_main}
                    button = gr.Button("Start", variant="primary", elem_id="start")
                    rest = [each for each in fields if not each.is_main]
                    for title, is_usual in (("Options", True), ("More options", False)):
                        with gr.Accordion(title, open=False):
                            parts |= {each.label: _component(gr, each) for each in rest if each.is_usual is is_usual}
                    inputs = [parts[each.label] for each in fields]
                    button.click(lambda *values: start(name, fields, values), inputs, run, **how)

                gr.render(inputs=experiment)(draw_form)

            with gr.Column(scale=2, min_width=280):
                run.render()
                with gr.Row():
                    stop = gr.Button("Stop", interactive=False, elem_id="stop", min_width=80)
                    resume = gr.Button("Resume", interactive=False, elem_id="resume", min_width=80)
                shown = gr.HTML("", elem_id="shown", apply_default_css=False)
        looking: Any = {"fn": look, "inputs": [run, last], "outputs": [shown, last, stop, resume], **how}
        gr.Timer(OFTEN).tick(**looking)
        run.change(**looking)
        run.focus(lambda: gr.Dropdown(choices=runs.names()), None, run, **how)
        stop.click(stop_run, run, **how)
        resume.click(resume_run, run, **how)
        ui.load(opened, None, run, **how)
    return ui


def _component(gr: Any, field: Field) -> Any:
    how = {"label": field.label, "info": field.help, "elem_id": f"field-{field.label}"}
    if field.argument.name == "energies":
        return gr.CheckboxGroup(list(field.choices), **how)
    if field.choices:
        return gr.Dropdown([*([] if field.usual else [("", "")]), *field.choices], value=field.usual, **how)
    is_text = field.argument.positional
    return gr.Textbox(value="", placeholder=field.usual, lines=2 if is_text else 1, **how)


def _text(value: Any) -> str:
    return " ".join(f'"{each}"' for each in value) if isinstance(value, list) else str(value or "")


def _often(experiment: Experiment, given: Mapping[str, str]) -> list[str]:
    """Commits that are near enough to each other to watch a run of these steps; they change no draw."""
    steps = given.get("steps") or str(experiment.usual["steps"])
    if not steps.isdecimal():  # which the command will say
        return []
    return [f"--commit-every={max(1, min(100, int(steps) // LOOKS))}"]
