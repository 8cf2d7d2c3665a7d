"""What a run of cells came to, in lines, a table, or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.chaos.run import Verdict


def line(verdict: Verdict) -> str:
    """One cell in one line."""
    state = "ok" if verdict.is_good else "FAILED"
    judgement = verdict.judgement
    return (
        f"{state:<6} {verdict.cell.name:<62} detect {_seconds(verdict.detect):>6}"
        f"  recover {_seconds(verdict.recover):>6}  lost {len(judgement.lost)}"
        f"  lies {len(judgement.lies)}  duplicates {judgement.duplicates}"
        f"  restarts {verdict.restarts}  ({verdict.seconds:.0f} s)"
    )


def told(verdicts: Sequence[Verdict], how: str) -> str:
    """The table: `json`, `markdown`, or plain lines."""
    if how == "json":
        return json.dumps([as_json(one) for one in verdicts], indent=2)
    return markdown(verdicts) if how == "markdown" else "\n".join(map(line, verdicts))


def markdown(verdicts: Sequence[Verdict]) -> str:
    """A table for a page of documentation."""
    rows = [
        "| victim | fault | moment | broker | detect | recover | lost | lies | duplicate bodies |",
        "|---|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for one in verdicts:
        cell, found = one.cell, one.judgement
        moment = cell.moment if cell.load == "mix" else f"{cell.moment}, {cell.load}"
        moment = moment if cell.loop is None else cell.loop
        lost = "not carried out" if one.error else len(found.lost)
        rows.append(
            f"| {cell.victim} | {cell.fault} | {moment} | {cell.broker}"
            f" | {_seconds(one.detect)} | {_seconds(one.recover)}"
            f" | {lost} | {len(found.lies)} | {found.duplicates} |"
        )
    return "\n".join(rows)


def as_json(verdict: Verdict) -> dict[str, Any]:
    cell, found = verdict.cell, verdict.judgement
    return {
        "cell": cell.name,
        "seed": verdict.seed,
        "detect_seconds": verdict.detect,
        "recover_seconds": verdict.recover,
        "rows": verdict.rows,
        "lost": [vars(one) for one in found.lost],
        "lies": [vars(one) for one in found.lies],
        "duplicate_bodies": found.duplicates,
        "restarts": verdict.restarts,
        "error": verdict.error,
    }


def explained(verdict: Verdict) -> str:
    """Why a cell failed, and how to run it again."""
    words = [
        f"=== {verdict.cell.name}",
        f"again: python -m tests.chaos --seed {verdict.seed} --only '{_words(verdict)}'",
        verdict.error,
        f"{verdict.restarts} ended by themselves, and were started again"
        if verdict.restarts
        else "",
        *(f"lies: {one.task_id} {one.what}" for one in verdict.judgement.lies),
        *(f"lost: {one.task_id} {one.what}" for one in verdict.judgement.lost[:20]),
        verdict.evidence,
    ]
    return "\n".join(word for word in words if word)


def summary(verdicts: Sequence[Verdict], seconds: float, seed: int) -> str:
    """The whole in one line."""
    judgements = [one.judgement for one in verdicts]
    return (
        f"{len(verdicts)} cells, seed {seed}, {sum(one.rows for one in verdicts):,} tasks in"
        f" {seconds:.0f} s: {sum(len(one.lost) for one in judgements)} lost,"
        f" {sum(len(one.lies) for one in judgements)} lies,"
        f" {sum(one.duplicates for one in judgements)} duplicate bodies,"
        f" {sum(one.restarts for one in verdicts)} ended by themselves,"
        f" {sum(bool(one.error) for one in verdicts)} not carried out"
    )


def _words(verdict: Verdict) -> str:
    return verdict.cell.name.replace(" / ", ",")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
