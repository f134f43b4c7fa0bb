"""Many jobs in one command: all are checked before the first starts; a failure stops no other."""

import hashlib
import io
import traceback
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout, suppress
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

from unfold.cli.console import described, say, say_error, short, table
from unfold.cli.runtime import as_single_job, place_of
from unfold.cli.sweeps.pool import run_jobs
from unfold.cli.sweeps.study import evaluation_of
from unfold.config.build import build_group, components_of
from unfold.config.check import Checked
from unfold.errors import ConfigError, PreemptedError, ShapeError, SweepError, UnfoldError, visible
from unfold.launchers.launcher import Job, Launcher
from unfold.runs.catalogue import flat, read_entry
from unfold.runs.compare import Computation
from unfold.runs.directory import results_of
from unfold.runs.identity import conditions
from unfold.runs.redact import redacted_override
from unfold.runs.seal import ROWS
from unfold.runs.status import Outcome


class Entry(NamedTuple):
    """One job of a sweep: its label, its result or its error; `remark` replaces its state."""

    label: tuple[str, ...]
    outcome: Outcome | None
    error: str | None
    remark: str | None = None


def run_one(checked: Checked, prefix: Sequence[str]) -> Outcome:
    """Run one job in this process, as if its command had been typed after the prefix."""
    from unfold.cli.job import run_job

    with as_single_job([*prefix, *command_of(checked)]):
        return run_job(checked)


def command_of(checked: Checked) -> list[str]:
    """The arguments that run one job of a sweep by itself."""
    job = checked.job
    return [*(f"--config-dir={folder}" for folder in job.folders[1:]), *job.overrides]


def run_in_process(jobs: Sequence[Checked], prefix: Sequence[str]) -> list[Entry]:
    """Run the jobs one after another in this process, and show them in a table."""
    entries: list[Entry] = []
    for number, (label, job) in enumerate(zip(_labels(jobs), jobs, strict=True), 1):
        say(f"[{number}/{len(jobs)}] {' '.join(label)}")
        entries.append(_tried(job, label, prefix))
    return _concluded(entries, jobs)


def run_jobs_of(jobs: Sequence[Checked], prefix: Sequence[str], launcher: Launcher) -> list[Entry]:
    """Run each job in its own process, and show them in a table."""
    labels, settings = _labels(jobs), jobs[0].settings
    entries = dict(_finished_before(labels, jobs))
    left = [number for number in range(len(jobs)) if number not in entries]

    def ended(place: int, job: Job) -> None:
        number = left[place]
        entry = entries[number] = entry_of(labels[number], job)
        state = "failed" if entry.error else "finished"
        say(f"[{len(entries)}/{len(jobs)}] {state}: {' '.join(labels[number])}")
        if entry.error:
            say_error(*entry.error.splitlines())

    commands = [[*prefix, *command_of(jobs[number])] for number in left]
    run_jobs(commands, launcher, ended, settings.runs_dir)
    return _concluded([entries[number] for number in range(len(jobs))], jobs)


def rehearse(jobs: Sequence[Checked]) -> None:
    """Take one step of every job that differs from those before, before the first job starts.

    Jobs that differ in a seed or an optimizer share a step; images that cannot be read are left
    to the job, as another machine may run it. So is code of trusted packages: what it raises, or
    ends, must not end the sweep.

    Raises:
        ConfigError: names the jobs whose components do not fit each other.
    """
    from unfold.cli.dry_run import dry_run
    from unfold.config.naming import option_names

    problems, images, seen = list[str](), dict[str, Any](), set[str]()
    for label, checked in zip(_labels(jobs), jobs, strict=True):
        config = checked.job.config
        kept = {**conditions(config), "loss": config["loss"]}
        key = repr({k: v for k, v in flat(kept).items() if not k.endswith("seed")})
        if key in seen or checked.settings.trust:
            continue
        seen.add(key)
        with suppress(UnfoldError), redirect_stdout(io.StringIO()):
            components = components_of(checked)
            data = images.setdefault(repr(config["data"]), components.data)
            try:
                with option_names(checked):
                    dry_run(
                        components._replace(data=data),
                        checked.settings.seed,
                        strict=checked.settings.strict,
                    )
            except (ConfigError, ShapeError) as error:
                problems.append(f"{' '.join(label)}: {error}")
    if problems:
        raise ConfigError(f"{len(problems)} jobs of the sweep cannot run", *problems)


def _finished_before(
    labels: Sequence[tuple[str, ...]], jobs: Sequence[Checked]
) -> Iterator[tuple[int, Entry]]:
    """The jobs whose run is finished already: they need no place in a queue.

    Where the images cannot be read, or the code has changed, the job itself reports it.
    """
    fingerprints: dict[str, str] = {}
    for number, checked in enumerate(jobs):
        data = repr(checked.job.config["data"])
        if checked.settings.rerun:
            continue
        try:
            if data not in fingerprints:
                fingerprints[data] = build_group(checked, "data").fingerprint()
            run = place_of(checked, fingerprints[data])
            scores = results_of(run, Computation(checked.job.stored, fingerprints[data]))
        except UnfoldError:
            continue
        if scores is not None:
            yield number, Entry(labels[number], Outcome(run, scores, repeated=True), None)


def entry_of(label: tuple[str, ...], job: Job) -> Entry:
    """The result of a process that has ended."""
    if job.code == 0 and job.outcome is not None:
        return Entry(label, job.outcome, None)
    return Entry(label, None, job.error)


def _concluded(entries: list[Entry], jobs: Sequence[Checked]) -> list[Entry]:
    if jobs[0].job.choices.get("sweep") == "modes":
        from unfold.cli.sweeps.modes import conclude_modes

        found = [entry.outcome.directory for entry in entries if entry.outcome]
        conclude_modes(found, Path(jobs[0].settings.runs_dir) / f"modes-{name_of(jobs)}")
    return conclude(entries, jobs[0].settings.objective, name_of(jobs))


def name_of(jobs: Sequence[Checked]) -> str:
    """Eight digits of the commands of a sweep: another one in the same folder has other files."""
    commands = [[redacted_override(text) for text in command_of(job)] for job in jobs]
    return hashlib.sha256(repr(commands).encode()).hexdigest()[:8]


def conclude(
    entries: list[Entry], objective: str, name: str = "", *, best: bool = True
) -> list[Entry]:
    """Show the results of all jobs, and how the best one is evaluated; `name` is of the sweep."""
    from unfold.evaluation.metrics import higher_is_better

    rows, scored = [], list[tuple[float, Path]]()
    for label, outcome, error, remark in entries:
        job = " ".join(label) or "(no overrides)"
        if outcome is None:
            rows.append((job, "failed", "", (error or "").splitlines()[0]))
        else:
            score = outcome.scores.get(f"best {objective}")
            scored += [] if score is None or isnan(score) else [(score, outcome.directory)]
            state = remark or ("finished before" if outcome.repeated else "finished")
            value = "" if score is None else f"{score:.4g}"
            rows.append((job, state, value, short(outcome.directory)))
    table("sweep", ("job", "state", objective, "run or reason"), rows)
    if best and len(scored) > 1:
        metric = objective.removeprefix("validation/")
        further = read_entry(scored[0][1], "").get(f"metrics.extra.{metric}._target_")
        if (higher := higher_is_better(metric, further)) is not None:
            say(f"best: {evaluation_of(short((max if higher else min)(scored)[1]))}")
    _write_report(entries, name)
    if failed := sum(entry.error is not None for entry in entries):
        raise SweepError(f"{failed} of {len(entries)} jobs failed; the table says why.")
    return entries


def _write_report(entries: Sequence[Entry], name: str) -> None:
    """A page of the jobs, next to their runs, where several were evaluated."""
    runs = [one.outcome.directory for one in entries if one.outcome is not None]
    if sum((run / ROWS).is_file() for run in runs) < 2:
        return
    from unfold.cli.report import write_report_of

    lost = [f"{' '.join(one.label)}: {one.error}" for one in entries if one.outcome is None]
    output = runs[0].parents[1] / f"report{name and f'-{name}'}.html"
    found = [read_entry(run, f"{run.parent.name}/{run.name}") for run in runs]
    try:
        write_report_of(found, output, lost)
        say(f"report: {short(output)}")
    except Exception as error:  # the jobs are finished, whatever becomes of their page
        say(f"note: no report: {described(error)}")


def _tried(checked: Checked, label: tuple[str, ...], prefix: Sequence[str]) -> Entry:
    try:
        return Entry(label, run_one(checked, prefix), None)
    except PreemptedError:
        raise  # the sweep itself is asked to terminate
    except UnfoldError as error:
        lines = error.lines
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        lines = (described(error),)
    say_error(*lines)
    return Entry(label, None, "\n".join(map(visible, lines)))


def _labels(jobs: Sequence[Checked]) -> list[tuple[str, ...]]:
    """The overrides of each job that are not the same in all jobs."""
    shared = set.intersection(*(set(one.job.overrides) for one in jobs))
    return [
        tuple(redacted_override(text) for text in one.job.overrides if text not in shared)
        for one in jobs
    ]
