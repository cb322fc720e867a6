"""Hypothesis strategies for conditions of every form and for views that may lack anything."""

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

WORDS = ("refund", "search", "a", "", "é", "a b", "REFUND", "x1")
TEXTS = ("task_type", "tool", "model", "agent", "complexity", "effect", "agent_state")
INTS = ("priority", "retry_count", "hour", "depth", "agent_requests_1h", "workflow_failures")
DOUBLES = (
    "cost", "tenant_spent_usd", "estimated_time_s", "agent_cost_1h_usd", "agent_score_quality", "tenant_left_usd",
)  # fmt: skip
KEYS = ("x", "flag", "list", "name", "deep")
PATTERNS = ("a", "^re", "d$", "(?i)refund", "[a-z]+", "^$", "\\\\s", "(a+)+$")

word = st.sampled_from(WORDS)
small = st.integers(-3, 12)
fraction = st.sampled_from((-1.5, 0.0, 0.5, 1.0, 2.0, 2.5, 5.0, 1e9))


def _literal(text: str) -> str:
    return '"' + text + '"'


@st.composite
def number(draw: st.DrawFn, kind: str, depth: int) -> str:
    """Give an expression that CEL types as int, double or dyn."""
    if kind == "dyn":
        return draw(dyn(depth))
    fields, literal = (INTS, st.builds(str, small)) if kind == "int" else (DOUBLES, st.builds(repr, fraction))
    if depth <= 0 or draw(st.integers(0, 3)):
        return draw(st.one_of(st.sampled_from(fields), literal))
    if kind == "int" and draw(st.booleans()):
        return f"size({draw(st.one_of(st.sampled_from((*TEXTS, 'tags', 'attributes')), dyn(0)))})"
    left, right = draw(number(kind, depth - 1)), draw(number(kind, depth - 1))
    sign = draw(st.sampled_from("+-*/%" if kind == "int" else "+-*/"))
    return draw(st.sampled_from((f"({left} {sign} {right})", f"-({left})")))


@st.composite
def dyn(draw: st.DrawFn, depth: int) -> str:
    """Give a value out of the free-form maps."""
    base = draw(st.sampled_from(("attributes", "arguments"))) + "." + draw(st.sampled_from(KEYS))
    forms = [base, base, f"{base}.name", f"{base}[0]", f'{base}["x"]']
    if depth > 0:
        forms.append(f"({base} + {draw(dyn(0))})")
    return draw(st.sampled_from(forms))


@st.composite
def text(draw: st.DrawFn) -> str:
    """Give an expression that CEL types as string or dyn."""
    return draw(st.one_of(st.sampled_from(TEXTS), word.map(_literal), dyn(0)))


@st.composite
def atom(draw: st.DrawFn) -> str:
    """Give a condition without `&&`, `||`, `!` or a choice."""
    sign = draw(st.sampled_from(("<", "<=", ">", ">=", "==", "!=")))
    kind = draw(st.integers(0, 12))
    if kind <= 3:
        kinds = st.sampled_from(("int", "double", "dyn"))
        return f"{draw(number(draw(kinds), 1))} {sign} {draw(number(draw(kinds), 1))}"
    if kind == 4:
        return f"{draw(text())} {sign} {draw(text())}"
    if kind == 5:
        method = draw(st.sampled_from(("contains", "startsWith", "endsWith")))
        return f"{draw(text())}.{method}({draw(text())})"
    if kind == 6:
        return f"{draw(text())}.matches({_literal(draw(st.sampled_from(PATTERNS)))})"
    if kind == 7:
        words = ", ".join(_literal(one) for one in draw(st.lists(word, max_size=4)))
        return f"{draw(text())} in [{words}]"
    if kind == 8:
        numbers = st.lists(st.builds(repr, fraction), max_size=4)
        return f"{draw(number('double', 1))} in [{', '.join(draw(numbers))}]"
    if kind == 9:
        return f"{draw(text())} in {draw(st.sampled_from(('tags', 'attributes', 'arguments')))}"
    if kind == 10:
        return draw(
            st.sampled_from(("true", "false", "attributes.flag", "attributes.x == null", "tags == []"))
        )
    if kind == 11:
        holder = draw(st.sampled_from(("attributes", "arguments", "arguments.deep", "given")))
        names = KEYS if holder != "given" else (*TEXTS, *INTS, *DOUBLES)
        return f"has({holder}.{draw(st.sampled_from(names))})"
    over, macro = draw(st.sampled_from(("tags", "attributes"))), draw(st.sampled_from(("exists", "all")))
    test = draw(
        st.sampled_from(('t == "a"', 't.startsWith("r")', "t == model", "t != tool", "size(t) > retry_count"))
    )
    return f"{over}.{macro}(t, {test})"


@st.composite
def condition(draw: st.DrawFn, depth: int = 2) -> str:
    """Give any condition."""
    kind = draw(st.integers(0, 5)) if depth > 0 else 0
    if kind <= 1:
        return draw(atom())
    if kind == 2:
        return f"!({draw(condition(depth - 1))})"
    parts = [draw(condition(depth - 1)) for _ in range(3)]
    if kind == 3:
        return f"(({parts[0]}) ? ({parts[1]}) : ({parts[2]}))"
    sign = " && " if kind == 4 else " || "
    return "(" + sign.join(f"({part})" for part in parts[: draw(st.integers(2, 3))]) + ")"


scalar = st.one_of(
    st.booleans(),
    small,
    fraction,
    word,
    st.none(),
    st.sampled_from((2**63, -(2**63), 10**25, Decimal("2.5"))),
)
free = st.dictionaries(
    st.sampled_from(KEYS),
    st.one_of(
        scalar,
        st.lists(scalar, max_size=3),
        st.dictionaries(st.sampled_from(("x", "name", "flag")), scalar, max_size=2),
    ),
    max_size=5,
)


_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(TEXTS, word),
    **dict.fromkeys(INTS, small),
    **dict.fromkeys(DOUBLES, st.one_of(small, fraction)),
    "tags": st.lists(word, max_size=3).map(tuple),
    "attributes": free,
    "arguments": free,
    "tenant": word,
    "now_ms": st.integers(0, 4),
}
view = st.fixed_dictionaries({}, optional=_FIELDS)
"""A view that may lack anything."""
full_view = st.fixed_dictionaries(_FIELDS)
"""A view that has everything."""
scope = st.fixed_dictionaries(
    {},
    optional={
        "tenant": st.sampled_from(("*", "refund", "a")),
        "agent": st.sampled_from(("*", "refund", "a")),
        "valid_from": st.integers(0, 4),
        "valid_until": st.integers(0, 4),
        "priority": st.integers(-1, 1),
    },
)
"""For whom and when a policy is."""
