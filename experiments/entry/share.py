"""What a process does that was given a share of a run; executors carry it there, see ``executors/share.py``."""

from __future__ import annotations

import traceback
import warnings
from contextlib import nullcontext

import click

from experiments.declaration.wording import Remark
from experiments.entry.find import find_experiment
from experiments.executors.share import Committed, OnlyBegun, Outcome, ShareTask
from experiments.setup.job import Share

__all__ = ["do_share"]


def do_share(task: ShareTask, committed: Committed | None) -> Outcome:
    """Run the shards of ``task``. A traceback of what is no error of ours is written to stderr."""
    from samplers import Interrupted, InvalidInput, McmcTextError

    warnings.simplefilter("ignore", Remark)
    try:
        declared = find_experiment(task.experiment)
        # Errors name options where the run was begun from a shell.
        caller = click.Context(declared.command()) if task.shell else nullcontext()
        with caller:
            declared.run_share(dict(task.arguments), Share(task, committed))
    except (Interrupted, OnlyBegun):
        return Outcome()
    except McmcTextError as error:
        return Outcome(str(error), isinstance(error, InvalidInput))
    except (Exception, SystemExit):
        traceback.print_exc()
        return Outcome(end="failed")
    return Outcome()
