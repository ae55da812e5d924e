import random
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from throughline.chaos.audit import Verdict, audit
from throughline.chaos.background import Background
from throughline.chaos.books import read_books
from throughline.chaos.ledger import Ledger
from throughline.chaos.load import Load
from throughline.chaos.looks import open_runs
from throughline.chaos.mount import SmallMount
from throughline.chaos.plan import Form, Step, make_plan
from throughline.chaos.recovery import Injection, inject
from throughline.chaos.report import show_latencies, show_table, show_verdict
from throughline.chaos.scene import Scene
from throughline.chaos.self_audit import self_audit
from throughline.chaos.stack import ChaosStack
from throughline.cli.output import console
from throughline.embedded import DataFolder
from throughline.errors import ServiceFailed
from throughline.local.up import show_progress
from throughline.supervision import Supervisor

_SHARE = 0.75
_QUIET_WITHIN = 120.0
_PEACE = 2.0


@dataclass(slots=True, kw_only=True)
class _Campaign:
    """One run of the harness over its stack."""

    form: Form
    seed: int
    stack: ChaosStack
    load: Load
    deadline: float
    injections: list[Injection]

    def go(self, plan: list[Step]) -> None:
        """Inject the plan under load, then send what is missing of the events that the form wants."""
        self.load.rate = self.form.events / (self.form.minutes * 60 * _SHARE)
        self.load.start()
        self.stack.wait(_PEACE)
        rng = random.Random(self.seed)  # noqa: S311 - repeatable, not secret
        for number, step in enumerate(plan, start=1):
            if time.monotonic() > self.deadline:
                console.print(f"  the time is over: {len(plan) - number + 1} faults left out", style="yellow")
                break
            self._inject(step, rng, f"{number}/{len(plan)}")
        self.stack.wait(
            max(0.0, self.deadline - time.monotonic()),
            until=lambda: len(self.load.ledger.sent) >= self.form.events,
        )

    def _inject(self, step: Step, rng: random.Random, where: str) -> None:
        self.stack.wait(step.pause)
        scene = Scene(stack=self.stack, load=self.load, random=rng, hold=step.hold)
        done = inject(step.fault, scene)
        self.injections.append(done)
        took = f"{done.recovery:.1f} s" if done.recovery is not None else f"never: {', '.join(done.missing)}"
        if done.last:
            took += f" ({', '.join(done.last)} last)"
        style = "red" if done.late else "green"
        console.print(
            f"  {where:>6} {step.fault.name:<24} recovered [{style}]{took}[/{style}]   "
            f"{self.load.ledger.accepted} events promised"
        )

    def settle(self) -> None:
        """Send no more and wait, within bounds, until no run is open."""
        self.load.stop()
        quiet = self.stack.wait(_QUIET_WITHIN, until=self._is_quiet)
        console.print("  no run is open" if quiet else "  runs are still open", style="dim")

    def _is_quiet(self) -> bool:
        try:
            return open_runs(self.stack.postgres) == 0
        except ServiceFailed:
            return False


def run_chaos(form: Form, *, seed: int) -> int:
    """Run the form; return 0 only if nothing was lost, doubled or stuck. Nothing stays running, or mounted.

    The data folder, with the logs of every process, is kept when something was found.
    """
    home = Path(tempfile.mkdtemp(prefix="throughline-chaos-"))
    small = SmallMount(home / "small")
    refusal = small.open() if not form.only or "postgres-disk-full" in form.only else "not asked for"
    code = 1
    try:
        plan = make_plan(form, seed=seed, mounted=refusal is None)
        _announce(form, seed, plan, refusal)
        code = _run(form, seed, plan, home, small=small if refusal is None else None)
    finally:
        small.close()
        if code == 0:
            shutil.rmtree(home, ignore_errors=True)
        else:
            console.print(f"data and logs are kept in {home}", markup=False)
    return code


def _announce(form: Form, seed: int, plan: list[Step], refusal: str | None) -> None:
    console.print(f"[bold]chaos, {form.name}: seed {seed}, {len(plan)} faults, {form.minutes:g} minutes at most[/bold]")
    for number, step in enumerate(plan, start=1):
        console.print(f"  {number:>2} {step}", style="dim", markup=False)
    if refusal is not None and not form.only:
        console.print(f"  left out: postgres-disk-full ({refusal})", style="yellow", markup=False)


def _run(form: Form, seed: int, plan: list[Step], home: Path, *, small: SmallMount | None) -> int:
    deadline = time.monotonic() + form.minutes * 60 * 0.9
    ledger, effects = Ledger(home / "answers.jsonl"), home / "effects"
    with (
        DataFolder(home / "stack") as folder,
        Background() as background,
        Supervisor(report=show_progress) as supervisor,
    ):
        stack = ChaosStack(folder, background, small=small)
        stack.start(supervisor)
        load = Load(background, stack.api_url, ledger=ledger, effects=str(effects), seed=seed)
        campaign = _Campaign(form=form, seed=seed, stack=stack, load=load, deadline=deadline, injections=[])
        campaign.go(plan)
        campaign.settle()
        injections = campaign.injections
        verdict = audit(read_books(ledger, effects, stack.postgres), explained=_explained(injections))
        complaint = self_audit(stack)
        _report(injections, ledger, verdict, stack.ended)
        if complaint:
            console.print(complaint, style="red", markup=False)
    ledger.close()
    return 0 if verdict.clean and not complaint and all(one.recovery is not None for one in injections) else 1


def _explained(injections: list[Injection]) -> "_Explained":
    return _Explained(injections)


@dataclass(frozen=True, slots=True)
class _Explained:
    injections: list[Injection]

    def __call__(self, moment: float) -> bool:
        return any(injection.explains(moment) for injection in self.injections)


def _report(injections: list[Injection], ledger: Ledger, verdict: Verdict, ended: list[str]) -> None:
    console.print()
    show_table(injections, ledger)
    console.print()
    show_latencies(injections, ledger)
    show_verdict(verdict, ledger, unexpected=ended)
