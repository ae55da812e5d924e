from collections.abc import Iterable
from string import Template
from typing import Final

FLOW: Final = Template('''\
"""$title: takes $type, and tells people of what is large."""

$imports


class $schema(EventSchema):
    """What the pipeline reads of an event's data; other fields are ignored."""

    id: str
    amount: float


class Assessment(BaseModel):
    """What the router looks at."""

    large: bool
    reason: str


class Notice(BaseModel):
    """What people are told."""

    to: str
    text: str


class Summary(BaseModel):
    """What is kept where nobody need be told."""

    text: str


class Assess(Node[Assessment]):
    """Says whether people must look."""

    async def run(self, ctx: TaskContext[$schema]) -> Assessment:
        """Compare the amount with what is usual."""
        large = ctx.data.amount > LARGE
        return Assessment(large=large, reason=f"{ctx.data.amount:g} is {'more' if large else 'no more'} than {LARGE:g}")


class Notify(Node[Notice]):
    """Tells people: an effect, so its result is committed before anything else begins."""

    effects = True
    timeout = 10.0

    async def run(self, ctx: TaskContext[$schema]) -> Notice:
        """Hand ``ctx.idempotency_key`` to whom you call: a second call after a crash then changes nothing."""
        return Notice(to="on-call", text=f"{ctx.data.id}: {ctx.output(Assess).reason} ({ctx.idempotency_key})")


class Summarise(Node[Summary]):
    """Writes one line for the record."""

    async def run(self, ctx: TaskContext[$schema]) -> Summary:
        """Use what the first node found."""
        return Summary(text=f"{ctx.data.id}: {ctx.output(Assess).reason}")


def is_large(ctx: TaskContext[$schema]) -> bool:
    """Say whether people must look."""
    return ctx.output(Assess).large


class ByAmount(RouterNode):
    """Chooses who hears of it."""

    routes = (Route(to=Notify, when=is_large),)
    fallback = Summarise


LARGE = 1000.0

pipeline = Pipeline(
    name="$name",
    version=1,
    types=("$type",),
    schema=$schema,
    start=Assess,
    edges={Assess: ByAmount},
    timeout=60.0,
)
''')

TEST: Final = Template("""\
$imports

LARGE: JsonValue = {"id": "A-7", "amount": 2500}
SMALL: JsonValue = {"id": "A-8", "amount": 25}


def test_what_is_large_is_told_to_people() -> None:
    result = run(pipeline, event("$type", LARGE), script={Notify: Notice(to="on-call", text="A-7")})
    result.assert_succeeded()
    result.assert_path(Assess, ByAmount, Notify)
    assert result.output(Notify).to == "on-call"


def test_what_is_small_is_kept_for_the_record() -> None:
    result = run(pipeline, event("$type", SMALL))
    result.assert_path(Assess, ByAmount, Summarise)
    assert result.output(Summarise).text == "A-8: 25 is no more than 1000"


@pytest.mark.parametrize("data", [{}, {"id": "A-9"}, {"id": "A-9", "amount": "many"}])
def test_what_lacks_something_reaches_no_node(data: JsonValue) -> None:
    result = run(pipeline, event("$type", data))
    result.assert_failed(kind="invalid_event")
    assert result.path == ()
""")

PACKAGE: Final = '"""Pipelines of our own: every ``Pipeline`` at the top level of a module in here is found."""\n'


def imports(ours: Iterable[str], others: Iterable[str], *, beside: bool) -> str:
    """Return lines of imports as ruff sorts them; ``beside``: the engine lies beside the modules that are made.

    ``ours`` are those of the engine and of what is made, ``others`` those of other packages.
    """
    mine = [line for line in ours if beside or not line.startswith(_ENGINE)]
    theirs = [*others, *(line for line in ours if line not in mine)]
    return "\n\n".join("\n".join(sorted(block, key=_place)) for block in (theirs, mine) if block)


def _place(line: str) -> tuple[bool, str]:
    return line.startswith("from "), line.split()[1]


_ENGINE: Final = ("from events", "from pipelines")
