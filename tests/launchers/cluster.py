"""The programs of a SLURM cluster on one machine, as far as submitit and unfold call them.

One file under their names. `sbatch` starts a job in the background, which signals every process of
it before its time limit, and starts it again where `scontrol requeue` was called. A job of several
machines has a task on each, which here are all the same; signals reach that of the first.
"""

import os
import sys
from pathlib import Path

NAMES = ("sbatch", "squeue", "srun", "scontrol", "scancel")

PROGRAM = """#!{python}
import os, re, signal, subprocess, sys
from pathlib import Path
here, name, words = Path({folder!r}), Path(sys.argv[0]).name, sys.argv[1:]
job = lambda number: here / f"job-{{number}}"
if name == "sbatch":
    number = 1 + len(list(here.glob("job-*")))
    job(number).mkdir()
    (job(number) / "script").write_text(Path(words[0]).read_text())
    (job(number) / "state").write_text("RUNNING")
    quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.Popen([{python!r}, str(here / "controller"), str(number)],
                     start_new_session=True, **quiet)
    print(f"Submitted batch job {{number}}")
elif name == "controller":
    own, limit = job(words[0]), float((here / "limit").read_text())
    for restart in range(9):
        (own / "requeue").unlink(missing_ok=True)
        nodes = re.search(r"--nodes=(\\d+)", (own / "script").read_text())[1]
        given = dict(SLURM_JOB_ID=words[0], SLURM_NTASKS=nodes, SLURM_JOB_NODELIST="localhost")
        given |= dict(SLURM_RESTART_COUNT=str(restart)) if restart else dict()
        step = subprocess.Popen(["bash", str(own / "script")], env=os.environ | given)
        try:
            step.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(int((own / "pid").read_text()), signal.SIGUSR2)
            step.wait()
        if not (own / "requeue").exists():
            break
    if (own / "state").read_text() == "RUNNING":
        (own / "state").write_text("COMPLETED" if step.returncode == 0 else "FAILED")
elif name == "srun":
    first = next(i for i, word in enumerate(words) if "python" in word)
    where = lambda i: os.environ | dict(SLURM_PROCID=str(i), SLURM_NODEID=str(i))
    steps = [subprocess.Popen(words[first:], start_new_session=True, env=where(i))
             for i in range(int(os.environ["SLURM_NTASKS"]))]
    (job(os.environ["SLURM_JOB_ID"]) / "pid").write_text(str(steps[0].pid))
    sys.exit(max([step.wait() for step in steps], key=abs))
elif name == "scontrol" and words[0] == "requeue":
    (job(words[1]) / "requeue").touch()
elif name == "scancel":
    (job(words[0]) / "state").write_text("CANCELLED")
    os.killpg(int((job(words[0]) / "pid").read_text()), signal.SIGTERM)
elif name == "squeue":
    live = [one.name[4:] for one in here.glob("job-*") if (one / "state").read_text() == "RUNNING"]
    print(*live, sep="\\n")
"""


def make_cluster(folder: Path, limit: float = 60.0) -> str:
    """Write the programs, and return the PATH that finds them.

    Args:
        folder: for them and their jobs.
        limit: seconds after which a job gets SIGUSR2.
    """
    folder.mkdir()
    (folder / "limit").write_text(str(limit))
    for name in (*NAMES, "controller"):
        path = folder / name
        path.write_text(PROGRAM.format(python=sys.executable, folder=str(folder)))
        path.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
