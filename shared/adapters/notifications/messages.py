"""Alerts as messages that people read: an adaptive card for Teams, and text with blocks for Slack.

Values come from tenants and callers, so that none is ever read as markup.
"""

from __future__ import annotations

from typing import Final

from shared.domain.alerts.event import AlertEvent
from shared.domain.alerts.severity import AlertSeverity

_CARD: Final = "application/vnd.microsoft.card.adaptive"
_COLORS: Final = {
    AlertSeverity.INFO: "default",
    AlertSeverity.WARNING: "warning",
    AlertSeverity.ERROR: "attention",
    AlertSeverity.CRITICAL: "attention",
}
_MAX_TEXT: Final = 500
_MAX_FACTS: Final = 30


def teams_message(event: AlertEvent, runbook: str) -> dict[str, object]:
    """Return the body for a workflow of Teams: a message with an adaptive card.

    Runs of rich text hold the values, because other texts of cards are Markdown.
    https://learn.microsoft.com/connectors/teams/#microsoft-teams-webhook
    """
    title = {"type": "TextBlock", "size": "large", "weight": "bolder", "wrap": True, "text": _title(event)}
    lines = [_run(f"{name}: {each}") for name, each in _facts(event)]
    card: dict[str, object] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [{**title, "color": _COLORS[event.severity]}, *lines],
    }
    if runbook:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Runbook", "url": runbook}]
    return {"type": "message", "attachments": [{"contentType": _CARD, "contentUrl": None, "content": card}]}


def slack_message(event: AlertEvent, runbook: str) -> dict[str, object]:
    """Return the body for an incoming webhook of Slack. Its blocks hold plain text, without links and mentions.

    https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
    """
    lines = "\n".join(f"{name}: {each}" for name, each in _facts(event))
    blocks: list[dict[str, object]] = [
        {"type": "header", "text": _plain(_title(event)[:150])},
        {"type": "section", "text": _plain(lines[:3000])},
    ]
    if runbook:
        button = {"type": "button", "text": _plain("Runbook"), "url": runbook}
        blocks.append({"type": "actions", "elements": [button]})
    return {"text": _escaped(f"{_title(event)}: {event.subject}"), "blocks": blocks}


def _title(event: AlertEvent) -> str:
    return f"{event.severity.value.capitalize()}: {event.kind}"


def _facts(event: AlertEvent) -> list[tuple[str, str]]:
    stated = [("subject", event.subject), ("time", event.at), *event.data.items()]
    return [(name, each[:_MAX_TEXT]) for name, each in stated][:_MAX_FACTS]


def _run(text: str) -> dict[str, object]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text}]}


def _plain(text: str) -> dict[str, object]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _escaped(text: str) -> str:
    """Escape the three characters by which Slack begins links and mentions."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
