"""Plays a scenario on a driver, line by line, and holds what happens against what is expected."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from ops_stream.contract.clocktext import format_time
from tests.scenarios import choosing, loading, optimizing, reporting, retrying, workflows
from tests.scenarios.alerting import silence_of
from tests.scenarios.driver import Driver, PolicySpec, Seen, Setup
from tests.scenarios.expecting import DECISIONS as DECISIONS
from tests.scenarios.expecting import hold_against, value_of
from tests.scenarios.language import BadScenario, Line, Scenario
from tests.scenarios.people import set_up
from tests.scenarios.signing import signature

TENANT = "team-a"
_MORE = (reporting, choosing, loading, retrying, optimizing)


def play(scenario: Scenario, driver: Driver) -> None:
    """Play a scenario; raises AssertionError where it comes out otherwise."""
    _Play(scenario, driver).run()


class _Play:
    def __init__(self, scenario: Scenario, driver: Driver) -> None:
        self.scenario = scenario
        self.driver = driver
        self.strangers = False
        self.known: set[tuple[str, str]] = set()
        self.agents: dict[str, tuple[str, str, str]] = {}
        self.bodies: dict[str, dict[str, Any]] = {}
        self.escalations: dict[str, dict[str, Any]] = {}
        self.optimization: str | None = None
        """The id of the last that was told of: what commands are about."""
        self.count = 0
        self.policies: list[PolicySpec] = []
        self.sent: tuple[str, dict[str, Any], Any] = ("control", {}, ())

    def run(self) -> None:
        setup = Setup()
        for line in self.scenario.setup:
            self._set_up(setup, line)
        self.driver.start(setup)
        self.driver.drain()
        for line in self.scenario.lines:
            act: Callable[[Line], str | None] = getattr(
                self, "_do_" + line.verb.replace("-", "_"), self._unknown
            )
            subject = act(line)
            seen = self.driver.drain()
            self._remember(seen)
            hold_against(line, subject, seen)

    def _unknown(self, line: Line) -> str | None:
        if reporting.held(line, self.driver, TENANT) or loading.changed(line, self.driver):
            return None
        raise BadScenario(f"{line.where}: there is no verb {line.verb}")

    # -- the world --------------------

    def _set_up(self, setup: Setup, line: Line) -> None:
        words, named = line.words, line.named
        if line.verb == "budget":
            setup.tenant_budgets[words[0]] = (words[1], micros(words[2]))
        elif line.verb == "task-budget":
            setup.task_budgets[words[0]] = (line.word(2, "task"), micros(words[1]))
        elif line.verb == "limit":
            setup.limits.append(_limit(line))
        elif line.verb == "zone":
            setup.zones[words[0]] = words[1]
        elif line.verb == "begin":
            setup.begin = words[0]
        elif line.verb == "setting":
            setup.settings[words[0]] = value_of(words[1])
        elif line.verb == "lifecycle":
            setup.lifecycle |= {name: value_of(text) for name, text in named.items()}
        elif line.verb == "kills":
            setup.kills |= {name: value_of(text) for name, text in named.items()}
        elif line.verb == "automatic":
            setup.automatic.append(
                {"name": words[0], **{name: value_of(text) for name, text in named.items()}}
            )
        elif line.verb == "person":
            setup.people[words[0]] = named
        elif line.verb == "signatures":
            setup.signatures = words[0] == "demanded"
        elif line.verb == "owner":
            setup.owners[words[0]] = words[1]
        elif line.verb == "alerts":
            setup.alerts |= {name: value_of(text) for name, text in named.items()}
        elif line.verb == "silence":
            setup.silences.append(silence_of(words[0], named))
        elif line.verb == "effects":
            setup.effects |= {name: value_of(text) for name, text in named.items()}
        elif line.verb == "effect":
            setup.effect_classes.setdefault(words[0], {})[words[1]] = words[2]
        elif line.verb == "mode":
            setup.modes.append(
                (named.get("tenant", "*"), named.get("agent", "*"), words[0], int(line.word(1, "100")))
            )
        elif line.verb == "models":
            setup.models = list(words)
        elif line.verb == "declare":
            setup.declared[words[0]] = words[1:]
        elif line.verb == "strangers":
            self.strangers = True
        elif line.verb == "rules":
            setup.known_rules += words
        elif line.verb == "partitions":
            setup.partitions = int(words[0])
        elif not any(
            take(setup, line, values_of(named)) for take in (set_up, *(one.set_up for one in _MORE))
        ):
            setup.policies.append(_policy(line))
            self.policies = setup.policies

    # -- what happens --------------------

    def _do_register(self, line: Line) -> None:
        body = self._body(line, agent=line.words[0], role="worker", capabilities=["general"])
        self.known.add((body["tenant"], body["agent"]))
        self.driver.send("agents", {"event": "AgentRegistration", **body})

    def _do_request(self, line: Line) -> str:
        request_id, agent = line.words[:2]
        body = self._body(line, request_id=request_id, agent=agent, task_id="t1", task_description="Do it.")
        if len(line.words) > 2:
            body["estimated_cost_usd"] = float(line.words[2])
        if "deadline" in body:
            body["deadline"] = format_time(self.driver.now_ms() + round(float(body["deadline"]) * 1000))
        if not self.strangers and (body["tenant"], agent) not in self.known:
            self.known.add((body["tenant"], agent))
            self.driver.send(
                "agents",
                {
                    "event": "AgentRegistration",
                    "tenant": body["tenant"],
                    "agent": agent,
                    "role": "worker",
                    "capabilities": ["general"],
                },
            )
            self.driver.drain()
        self.agents.setdefault(request_id, (body["tenant"], agent, body["task_id"]))
        self.bodies.setdefault(request_id, body)
        self.driver.send("task-requests", body)
        return request_id

    def _do_again(self, line: Line) -> str:
        """The same ask, to the byte."""
        self.driver.send("task-requests", self.bodies[line.words[0]])
        return line.words[0]

    def _do_report(self, line: Line) -> str:
        request_id, kind = line.words[:2]
        self.count += 1
        tenant, agent, task_id = self.agents.get(request_id, (TENANT, "engineer", "t1"))
        body = self._body(
            line,
            event_id=f"e{self.count}",
            request_id=request_id,
            kind=kind,
            tenant=tenant,
            agent=agent,
            task_id=task_id,
        )
        if len(line.words) > 2:
            body["cost_usd"] = float(line.words[2])
        self.driver.send("telemetry", reporting.timed(body, self.driver.now_ms()))
        return request_id

    def _do_heartbeat(self, line: Line) -> None:
        body = self._body(line, agent=line.words[0], running=list(line.words[1:]))
        self.driver.send("agents", {"event": "Heartbeat", **body})

    def _do_ack(self, line: Line) -> None:
        stopped = format_time(self.driver.now_ms())
        body = self._body(line, agent=line.words[0], request_id=line.words[1], stopped_at=stopped)
        self.driver.send("agents", {"event": "RevocationAck", **body})

    def _do_approve(self, line: Line) -> str:
        return self._resolve(line, "approve")

    def _do_deny(self, line: Line) -> str:
        return self._resolve(line, "deny")

    def _do_edit(self, line: Line) -> str:
        return self._resolve(line, "edit")

    def _resolve(self, line: Line, verdict: str) -> str:
        self.count += 1
        named = dict(line.named)
        escalation = self.escalations.get(line.words[0], {"escalation_id": "esc_none"})
        body: dict[str, Any] = {
            "resolution_id": f"v{self.count}",
            "escalation_id": escalation["escalation_id"],
            "tenant": named.pop("tenant", TENANT),
            "resolver": named.pop("by", "ann"),
            "verdict": verdict,
        }
        digest = named.pop("digest", "seen")
        if digest == "other":
            body["action_digest"] = "sha256:" + "0" * 64
        elif digest == "seen" and "action_digest" in escalation:
            body["action_digest"] = escalation["action_digest"]
        if "reason" in named:
            body["reason"] = named.pop("reason")
        rules = named.pop("rules", "none")
        if rules != "none":
            body["rules_digest"] = escalation["rules_digest"] if rules == "seen" else "sha256:" + "0" * 64
        way, key = named.pop("signed", "none"), named.pop("key", body["resolver"])
        if verdict == "edit":
            body["edits"] = {name: value_of(text) for name, text in named.items()}
        self._send_signed("resolutions", body, way, key)
        return str(escalation.get("request_id", line.words[0]))

    def _send_signed(self, topic: str, body: dict[str, Any], way: str, key: str) -> None:
        value = json.dumps(body).encode()
        headers = signature(way, key, topic, body, value, self.driver.now_ms())
        self.sent = (topic, body, headers)
        self.driver.send(*self.sent)

    def _do_replay(self, line: Line) -> None:
        """The last verdict or command once more, with its signature, to the byte."""
        self.driver.send(*self.sent)

    def _do_kill(self, line: Line) -> None:
        self._command(line, "kill", scope=line.words[0], target=line.word(1) or None)

    def _do_resume(self, line: Line) -> None:
        self._command(line, "resume", scope=line.words[0], target=line.word(1) or None)

    def _do_quarantine(self, line: Line) -> None:
        state = line.named.get("state")
        parameters = {"state": state} if state else None
        self._command(line, "quarantine_agent", target=line.words[0], tenant=TENANT, parameters=parameters)

    def _do_reinstate(self, line: Line) -> None:
        self._command(line, "reinstate_agent", target=line.words[0], tenant=TENANT)

    def _do_set_budget(self, line: Line) -> None:
        unit = line.named.get("unit", "usd")
        parameters: dict[str, Any] = {"scope": line.words[0], f"limit_{unit}": value_of(line.words[1])}
        if "window" in line.named:
            parameters["window"] = line.named["window"]
        self._command(line, "set_budget", tenant=TENANT, target=line.word(2) or None, parameters=parameters)

    def _do_limits_now(self, line: Line) -> None:
        """Other rules are in force from now on, with this one limit (none: without any)."""
        self.driver.change_limits([] if line.words == ("none",) else [_limit(line)])

    def _do_policy_now(self, line: Line) -> None:
        """From now on the rules have this policy too, in the place of one of its name (`none`: no such one)."""
        others = [policy for policy in self.policies if policy.name != line.words[0]]
        self.policies = others if line.words[1] == "none" else [*others, _policy(line)]
        self.driver.change_policies(self.policies)

    def _do_trigger_now(self, line: Line) -> None:
        """From now on a trigger demands this."""
        self.driver.change_trigger(line.words[0], {name: value_of(text) for name, text in line.named.items()})

    def _do_requests(self, line: Line) -> None:
        """So many asks that are the same but for their ids; only what the last one causes is held against the line."""
        for number in range(int(line.words[0])):
            self.driver.drain()
            self._do_request(replace(line, words=(f"same{number}", *line.words[1:])))

    def _do_down(self, _line: Line) -> None:
        self.driver.down()

    def _do_up(self, _line: Line) -> None:
        self.driver.up()

    def _do_account(self, line: Line) -> None:
        """What a scope has in a unit; dollars are written as such, others as counts."""
        level, name, unit, *words = line.words
        found = self.driver.account(level, line.named.get("tenant", TENANT), name, unit)
        for what, amount in zip(words[::2], words[1::2], strict=True):
            wanted = micros(amount) if unit == "usd" else int(amount)
            assert found[what] == wanted, f"{line.where}: {what} of {name} is {found[what]}, not {amount}"

    def _do_release(self, line: Line) -> None:
        which: Any = True if line.words[0] == "all" else line.words[0]
        parameters: dict[str, Any] = {"release_unknown": which}
        if "cost" in line.named:
            parameters["cost_usd"] = float(line.named["cost"])
        self._command(line, "set_budget", tenant=TENANT, parameters=parameters)

    def _do_activate(self, line: Line) -> None:
        self._command(line, "activate_rules", parameters={"digest": line.words[0]})

    def _do_command(self, line: Line) -> None:
        target = self.optimization if line.words[0].endswith("_optimization") else None
        self._command(line, line.words[0], tenant=TENANT, target=target)

    def _command(self, line: Line, command: str, **fields: Any) -> None:
        self.count += 1
        by = line.named.get("by", "olga")
        body = {"command_id": f"c{self.count}", "command": command, "issued_by": by, **fields}
        for name in ("tenant", "reason"):
            if name in line.named:
                body[name] = line.named[name]
        if "id" in line.named:
            body["command_id"] = line.named["id"]
        if "spread" in line.words:
            body["spread"] = True
        body = {name: value for name, value in body.items() if value is not None}
        self._send_signed("control", body, line.named.get("signed", "none"), line.named.get("key", by))

    def _do_workflow(self, line: Line) -> None:
        body = workflows.body_of(line, TENANT, values_of(line.named), self.driver.now_ms())
        self.driver.send("workflows", body)

    def _do_work(self, line: Line) -> None:
        """Whoever was given a step last reports on it."""
        request_id, agent, task_id = self.agents[f"step {line.words[0]}"]
        self.agents[request_id] = (TENANT, agent, task_id)
        self._do_report(replace(line, words=(request_id, *line.words[1:])))

    def _do_cancel(self, line: Line) -> None:
        self._command(line, "cancel_workflow", target=line.words[0], tenant=TENANT)

    def _do_raw(self, line: Line) -> str | None:
        self.driver.send(line.words[0], line.words[1].encode())
        return line.named.get("about")

    def _do_wait(self, line: Line) -> None:
        self.driver.advance(float(line.words[0]))

    def _do_proof(self, line: Line) -> None:
        """How far what a command stopped is proved to have stopped, counted over all partitions."""
        command_id, *words = line.words
        found = self.driver.containment(command_id)
        for what, count in zip(words[::2], words[1::2], strict=True):
            assert found[what] == int(count), f"{line.where}: {what} is {found[what]}, not {count}: {found}"

    def _do_balance(self, line: Line) -> None:
        words = list(line.words)
        task_id = words.pop(0) if words[0] == "task" else None
        name = words.pop(0)
        tenant, task_id = (TENANT, name) if task_id else (name, None)
        found = self.driver.balance(tenant, task_id)
        for what, amount in zip(words[::2], words[1::2], strict=True):
            assert found[what] == micros(amount), (
                f"{line.where}: {what} of {name} is {found[what]}, not {amount}"
            )

    def _body(self, line: Line, **fields: Any) -> dict[str, Any]:
        named = {("task_id" if name == "task" else name): value_of(text) for name, text in line.named.items()}
        return {"tenant": TENANT, **fields, **named}

    def _remember(self, seen: Sequence[Seen]) -> None:
        self.optimization = optimizing.last_of(seen) or self.optimization
        workflows.remember(seen, self.agents, self.escalations)
        for event in seen:
            if event.type == "Escalation" and event.value["status"] == "open":
                self.escalations[event.value.get("request_id", "")] = dict(event.value)


def _limit(line: Line) -> dict[str, Any]:
    """Read `limit SCOPE UNIT WINDOW AMOUNT [soft]`; the window of `concurrent` is written `-`."""
    scope, unit, window, amount = line.words[:4]
    entry: dict[str, Any] = {"scope": scope, f"limit_{unit}": float(amount) if unit == "usd" else int(amount)}
    if window != "-":
        entry["window"] = window
    if "alert" in line.named:
        entry["alert_at"] = [int(one) for one in line.named["alert"].split("+")]
    return (
        entry
        | {n: line.named[n] for n in ("tenant", "target") if n in line.named}
        | {"soft": "soft" in line.words}
    )


def _policy(line: Line) -> PolicySpec:
    named = dict(line.named)
    condition = named.pop("if", "true")
    priority, when = int(named.pop("priority", "0")), named.pop("when", "request")
    valid = (float(named.pop("from", "-inf")), float(named.pop("until", "inf")))
    parameters = {name: value_of(text) for name, text in named.items()}
    shadow = "shadow" in line.words[2:]
    return PolicySpec(line.words[0], line.words[1], condition, priority, when, shadow, parameters, valid)


def values_of(named: Mapping[str, str]) -> dict[str, Any]:
    """Read the values of a line."""
    return {name: value_of(text) for name, text in named.items()}


def micros(text: str) -> int:
    """Read dollars."""
    return int(Decimal(text) * 1_000_000)
