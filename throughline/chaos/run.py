import random
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from throughline.chaos.audit import Books, audit
from throughline.chaos.background import Background
from throughline.chaos.books import read_books
from throughline.chaos.ledger import Ledger
from throughline.chaos.load import Load
from throughline.chaos.looks import open_runs
from throughline.chaos.mount import SmallMount
from throughline.chaos.plan import Form, Step, make_plan
from throughline.chaos.pressure import Pressure
from throughline.chaos.promises import breaches
from throughline.chaos.recovery import Injection, Timeline, inject
from throughline.chaos.report import show_latencies, show_pressure, show_table, show_verdict
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
_PEACE = 3.0
_LEAST_RATE = 10.0
_TAIL = 60.0


@dataclass(slots=True, kw_only=True)
class _Campaign:
    """One run of the harness over its stack."""

    form: Form
    seed: int
    stack: ChaosStack
    load: Load
    deadline: float
    injections: list[Injection] = field(default_factory=list)
    left_out: list[Step] = field(default_factory=list)
    pressure: Pressure = field(default_factory=Pressure)

    def go(self, plan: list[Step]) -> None:
        """Inject the plan under load, then send what is missing of the events that the form wants.

        Past the deadline only what was not there yet is injected, and past twice the time nothing.
        """
        self.load.rate = max(_LEAST_RATE, self.form.events / (self.form.minutes * 60 * _SHARE))
        self.load.start()
        self.stack.wait(_PEACE)
        rng = random.Random(self.seed)  # noqa: S311 - repeatable, not secret
        for number, step in enumerate(plan, start=1):
            if self._is_due(step):
                self._inject(step, rng, f"{number}/{len(plan)}")
            else:
                self.left_out.append(step)
        self.stack.wait(
            max(_TAIL, self.deadline - time.monotonic()),
            until=lambda: len(self.load.ledger.sent) >= self.form.events,
        )

    def _is_due(self, step: Step) -> bool:
        if time.monotonic() > self.deadline + self.form.minutes * 60:
            return False
        return step.first or time.monotonic() < self.deadline

    def _inject(self, step: Step, rng: random.Random, where: str) -> None:
        for turn in range(step.fault.times):
            self.stack.wait(step.pause)
            scene = Scene(
                stack=self.stack, load=self.load, random=rng, hold=step.hold, redis_away=step.fault.redis_away
            )
            done = inject(step.fault, scene)
            self.injections.append(done)
            self._tell(done, where if step.fault.times == 1 else f"{where}.{turn + 1}")

    def _tell(self, done: Injection, where: str) -> None:
        took = f"{done.recovery:.1f} s" if done.recovery is not None else f"never: {', '.join(done.missing)}"
        if done.last:
            took += f" ({', '.join(done.last)} last)"
        if done.idle:
            took += f"; it did nothing: {done.idle}"
        style = "red" if done.late or done.idle else "green"
        console.print(
            f"  {where:>8} {done.fault.name:<24} recovered [{style}]{took}[/{style}]   "
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
    """Run the form; return 0 only if every promise was kept. Nothing stays running, or mounted.

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
        campaign = _Campaign(form=form, seed=seed, stack=stack, load=load, deadline=deadline)
        campaign.go(plan)
        campaign.settle()
        clean = _judge(campaign, read_books(ledger, effects, stack.postgres))
    ledger.close()
    return 0 if clean else 1


def _judge(campaign: _Campaign, books: Books) -> bool:
    """Audit everything, print it, and return whether every promise was kept."""
    pressure = campaign.pressure.share()
    injections, ledger, stack = campaign.injections, campaign.load.ledger, campaign.stack
    verdict = audit(books, when=Timeline(injections))
    broken = breaches(injections, ledger, ended=stack.ended)
    broken += [f"{step.fault.name} was left out: there was no time" for step in campaign.left_out if step.first]
    if complaint := self_audit(stack):
        broken.append(complaint)
    console.print()
    show_table(injections, ledger, verdict)
    console.print()
    show_pressure(pressure)
    show_latencies(ledger)
    show_verdict(verdict, ledger, broken=broken)
    return verdict.clean and not broken
