"""The Slurm recipe of docs/running.md, run as written with stand-ins for Slurm's commands."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from framework.plugin import ROOT

pytestmark = pytest.mark.slow

# Like srun, it passes signals on and ends with its task's status.
SRUN = """#!/bin/bash
"$@" & task=$!
trap 'kill -USR1 "$task"' USR1
wait "$task"; status=$?
while kill -0 "$task" 2>/dev/null; do wait "$task"; status=$?; done
exit "$status"
"""
SCONTROL = '#!/bin/bash\necho "$@" >> "$SLURM_SUBMIT_DIR/requeued"\n'
# A short run of the same experiment.
DIFFOBJ = f"""#!/bin/bash
exec {sys.executable} -m framework.commands.main "$@" trainer.steps=30 trainer.evaluate_every=1000 \\
    trainer.log_every=1 task.games=4 task.evaluation_episodes=1 task.video_frames=2 monitor.tensorboard=false
"""


@pytest.fixture
def job(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """The recipe as a file, and the environment of a job."""
    (recipe,) = re.findall(
        r"```bash\n(#!/bin/bash\n#SBATCH.*?)```", (ROOT / "docs" / "running.md").read_text(), re.S
    )
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "diffobj": DIFFOBJ}.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    (tmp_path / "job.sh").write_text(recipe)
    environment = os.environ | {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": "77",
    }
    return tmp_path / "job.sh", environment


def test_a_job_near_its_end_is_saved_requeued_and_goes_on(tmp_path, job):
    script, environment = job
    records = tmp_path / "runs" / "cartpole_1" / "metrics.jsonl"
    running = subprocess.Popen(["bash", script], env=environment, cwd=tmp_path)
    while running.poll() is None and not (records.exists() and records.read_text()):
        time.sleep(0.02)
    # By `--signal=B:USR1@120` the script alone gets it.
    running.send_signal(signal.SIGUSR1)
    assert running.wait(300) == 128 + signal.SIGUSR1
    assert (tmp_path / "requeued").read_text() == "requeue 77\n"
    result = json.loads((records.parent / "result.json").read_text())
    assert result["stopped"] == "stopped by SIGUSR1"
    assert 0 < result["saved"] == result["steps"] < 30
    # Slurm starts the same script again.
    assert (
        subprocess.run(["bash", script], env=environment, cwd=tmp_path, check=False).returncode == 0
    )
    result = json.loads((records.parent / "result.json").read_text())
    assert (result["stopped"], result["steps"]) == ("all steps done", 30)
    assert (tmp_path / "requeued").read_text() == "requeue 77\n"
