"""All routes: the one table that the router, OpenAPI and the table test are made from."""

from __future__ import annotations

from jupyter_remote.server import (
    about,
    blobs,
    budgets,
    cache,
    enrolment,
    events,
    jobs,
    links,
    machines,
    money,
    outputs,
    page,
    repeating,
    results,
    sessions,
    talking,
    tokens,
)

ENDPOINTS = [
    *about.ENDPOINTS,
    *jobs.ENDPOINTS,
    *talking.ENDPOINTS,
    *repeating.ENDPOINTS,
    *sessions.ENDPOINTS,
    *events.ENDPOINTS,
    *outputs.ENDPOINTS,
    *blobs.ENDPOINTS,
    *links.ENDPOINTS,
    *money.ENDPOINTS,
    *machines.ENDPOINTS,
    *results.ENDPOINTS,
    *page.ENDPOINTS,
    *cache.ENDPOINTS,
    *budgets.ENDPOINTS,
    *enrolment.ENDPOINTS,
    *tokens.ENDPOINTS,
]

SOCKETS = [*about.SOCKETS, *sessions.SOCKETS]
