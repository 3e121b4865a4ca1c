"""What must never be, as queries: each row found is a violated promise of the store.

It does not trust the constraints of the schema, nor what the transitions computed.
"""

from __future__ import annotations

from sqlalchemy import text

from jupyter_remote.model import TERMINAL
from jupyter_remote.store.session import Session

_ENDED = ", ".join(f"'{state.value}'" for state in sorted(TERMINAL))

# What a job still holds: what went into its owner's held account, less what left it.
_HELD = """
    SELECT job, sum(CASE WHEN target LIKE 'held:%' THEN amount_ucredits ELSE 0 END)
              - sum(CASE WHEN source LIKE 'held:%' THEN amount_ucredits ELSE 0 END) AS held
    FROM posting WHERE job IS NOT NULL GROUP BY job"""
_CAPTURED = """
    SELECT job, sum(amount_ucredits) AS captured FROM posting
    WHERE kind = 'capture' AND job IS NOT NULL GROUP BY job"""
_SIDES = """
    SELECT source AS name, -amount_ucredits AS amount FROM posting
    UNION ALL SELECT target, amount_ucredits FROM posting"""

_COUNTS = "(b.scope <> 'notebook' OR p.notebook = b.name)"  # a posting, for a budget

CHECKS: list[tuple[str, str]] = [
    (
        "the balance of {0} is {1}, its entries add up to {2}",
        f"SELECT n.name, coalesce(a.balance_ucredits, 0), coalesce(s.total, 0) "
        f"FROM (SELECT name FROM account UNION SELECT name FROM ({_SIDES}) AS x) AS n "
        f"LEFT JOIN account AS a ON a.name = n.name "
        f"LEFT JOIN (SELECT name, sum(amount) AS total FROM ({_SIDES}) AS y GROUP BY name) AS s "
        f"ON s.name = n.name "
        f"WHERE coalesce(a.balance_ucredits, 0) <> coalesce(s.total, 0)",
    ),
    (
        "all balances add up to {0} instead of 0",
        "SELECT total FROM (SELECT sum(balance_ucredits) AS total FROM account) AS t "
        "WHERE total <> 0",
    ),
    (
        "the budget {0} {1!r} of {2} says {3} held, the ledger {4}",
        f"SELECT * FROM (SELECT b.scope, b.name, b.owner, b.held_ucredits, (SELECT "
        f"coalesce(sum(CASE WHEN p.target = 'held:' || b.owner THEN p.amount_ucredits "
        f"ELSE -p.amount_ucredits END), 0) FROM posting AS p "
        f"WHERE 'held:' || b.owner IN (p.source, p.target) AND {_COUNTS}) AS held "
        f"FROM budget AS b) AS t WHERE held_ucredits <> held",
    ),
    (
        "the budget {0} {1!r} of {2} says {3} spent, the ledger {4}",
        f"SELECT * FROM (SELECT b.scope, b.name, b.owner, b.spent_ucredits, (SELECT "
        f"coalesce(sum(p.amount_ucredits), 0) FROM posting AS p WHERE p.kind = 'capture' "
        f"AND p.source = 'held:' || b.owner AND {_COUNTS}) AS spent "
        f"FROM budget AS b WHERE b.scope <> 'day') AS t WHERE spent_ucredits <> spent",
    ),
    (
        "{0} is overdrawn: {1}",
        "SELECT name, balance_ucredits FROM account WHERE balance_ucredits < 0 "
        "AND (name LIKE 'available:%' OR name LIKE 'held:%')",
    ),
    (
        "posting {0} moves {1}",
        "SELECT id, amount_ucredits FROM posting WHERE amount_ucredits <= 0 OR source = target",
    ),
    (
        "posting {0} was made {1} times",
        "SELECT key, count(*) FROM posting GROUP BY key HAVING count(*) > 1",
    ),
    (
        "job {0} ended as {1} and still holds {2}",
        f"SELECT j.id, j.state, h.held FROM job AS j JOIN ({_HELD}) AS h ON h.job = j.id "
        f"WHERE j.state IN ({_ENDED}) AND h.held <> 0",
    ),
    (
        "job {0} is {1} and holds {2} instead of {3}",
        f"SELECT j.id, j.state, coalesce(h.held, 0), j.hold_ucredits - j.cost_ucredits "
        f"FROM job AS j LEFT JOIN ({_HELD}) AS h ON h.job = j.id "
        f"WHERE j.state NOT IN ({_ENDED}) "
        f"AND coalesce(h.held, 0) <> j.hold_ucredits - j.cost_ucredits",
    ),
    (
        "job {0} was charged {1}, its row says {2}",
        f"SELECT j.id, coalesce(c.captured, 0), j.cost_ucredits "
        f"FROM job AS j LEFT JOIN ({_CAPTURED}) AS c ON c.job = j.id "
        f"WHERE coalesce(c.captured, 0) <> j.cost_ucredits",
    ),
    (
        "job {0} was charged {1}, more than the {2} held",
        "SELECT id, cost_ucredits, hold_ucredits FROM job WHERE cost_ucredits > hold_ucredits",
    ),
    (
        "job {0} was charged for attempt {1}, which did not start or was lost",
        "SELECT p.job, p.epoch FROM posting AS p JOIN job AS j ON j.id = p.job "
        "LEFT JOIN attempt AS a ON a.job = j.seq AND a.epoch = p.epoch "
        "WHERE p.kind = 'capture' AND (a.started_at IS NULL OR a.state IN ('lost', 'preempted'))",
    ),
    (
        "job {0} was charged {1} for attempt {2}, which ran for {3} ms",
        "SELECT j.id, p.amount_ucredits, p.epoch, round((a.ended_at - a.started_at) * 1000) "
        "FROM posting AS p JOIN job AS j ON j.id = p.job "
        "JOIN attempt AS a ON a.job = j.seq AND a.epoch = p.epoch WHERE p.kind = 'capture' "
        "AND p.amount_ucredits > j.rate_ucredits_per_h * (a.ended_at - a.started_at + 0.002) "
        "/ 3600.0 + 1",
    ),
    (
        "job {0} ended as {1} with an open attempt {2}",
        f"SELECT j.id, j.state, a.epoch FROM job AS j JOIN attempt AS a ON a.job = j.seq "
        f"WHERE j.state IN ({_ENDED}) AND a.ended_at IS NULL",
    ),
    (
        "job {0} has {1} open attempts",
        "SELECT j.id, count(*) FROM job AS j JOIN attempt AS a ON a.job = j.seq "
        "WHERE a.ended_at IS NULL GROUP BY j.id HAVING count(*) > 1",
    ),
    (
        "job {0} is {1} at epoch {2}, and no attempt of that epoch is open",
        "SELECT j.id, j.state, j.epoch FROM job AS j LEFT JOIN attempt AS a "
        "ON a.job = j.seq AND a.epoch = j.epoch AND a.ended_at IS NULL "
        "WHERE j.state IN ('claimed', 'running') AND a.epoch IS NULL",
    ),
    (
        "job {0} is {1}, and attempt {2} is open",
        "SELECT j.id, j.state, a.epoch FROM job AS j JOIN attempt AS a ON a.job = j.seq "
        "WHERE j.state IN ('queued', 'retry_wait') AND a.ended_at IS NULL",
    ),
    (
        "job {0} started {1} times; {2} attempts say they started",
        "SELECT j.id, j.starts, count(a.started_at) FROM job AS j "
        "LEFT JOIN attempt AS a ON a.job = j.seq GROUP BY j.id, j.starts "
        "HAVING j.starts <> count(a.started_at)",
    ),
    (
        "job {0} was given the result of {1}, and started {2} times or holds {3}",
        "SELECT id, cached_from, starts, hold_ucredits FROM job WHERE cached_from IS NOT NULL "
        "AND (starts > 0 OR epoch > 0 OR hold_ucredits > 0 OR state <> 'succeeded')",
    ),
    (
        "job {0} started {1} times, {2} are allowed",
        "SELECT id, starts, max_attempts + retries + preemptions FROM job "
        "WHERE starts > max_attempts + retries + preemptions",
    ),
    (
        "job {0} ended as {1} without its last event",
        f"SELECT j.id, j.state FROM job AS j WHERE j.state IN ({_ENDED}) AND 1 <> "
        f"(SELECT count(*) FROM event AS e WHERE e.job = j.seq AND e.type = 'done')",
    ),
    (
        "job {0} is {1}, and its last event was sent already",
        f"SELECT j.id, j.state FROM job AS j JOIN event AS e ON e.job = j.seq "
        f"WHERE j.state NOT IN ({_ENDED}) AND e.type = 'done'",
    ),
    (
        "job {0} has event {2} of attempt {1} {3} times",
        "SELECT j.id, e.epoch, e.seq, count(*) FROM event AS e JOIN job AS j ON j.seq = e.job "
        "WHERE e.seq > 0 GROUP BY j.id, e.epoch, e.seq HAVING count(*) > 1",
    ),
    (
        "job {0} was cancelled as asked, and is {1} for another reason: {2}",
        "SELECT id, state, reason FROM job WHERE cancel_requested = 1 "
        "AND (state IN ('queued', 'retry_wait', 'failed', 'expired') "
        "OR (state = 'succeeded' AND reason <> 'finished_before_cancel'))",
    ),
    (
        "job {0} is ready, and its input {1} is not there",
        "SELECT j.id, b.digest FROM job AS j JOIN reference AS r ON r.job = j.seq "
        "JOIN blob AS b ON b.digest = r.digest "
        "WHERE r.role = 'input' AND j.ready = 1 AND b.present = 0",
    ),
]


_QUERIES = [(message, text(query)) for message, query in CHECKS]


def violations(session: Session) -> list[str]:
    """Every one in words; empty when all is well."""
    return [message.format(*row) for message, query in _QUERIES for row in session.rows(query)]
