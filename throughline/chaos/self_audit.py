import subprocess
import sys

from throughline.chaos.stack import ChaosStack


def self_audit(stack: ChaosStack) -> str:
    """Run ``throughline audit`` over the database; return what it complains of, or nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "throughline", "audit"],
        check=False,
        capture_output=True,
        text=True,
        env=stack.environment(),
        timeout=120.0,
    )
    return "" if done.returncode == 0 else f"throughline audit: {done.stdout.strip()} {done.stderr.strip()}"
