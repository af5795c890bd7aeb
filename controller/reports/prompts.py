"""What only people know: the questions that a report leaves open, by section."""

from collections.abc import Mapping

OPEN: Mapping[str, tuple[str, ...]] = {
    "summary": (
        "what happened, in two or three sentences, for a reader who was not there",
        "impact: what users experienced, how many of them, and whether data was lost or is wrong",
    ),
    "timeline": (
        "detection: who or what noticed, when, and how (an alert, a user's report, a check)",
        "acknowledgement: when, and by which role; when the incident was declared and who was its commander",
        "each decision, change and mitigation, with its time and the reason that was known then",
        "each message to users and colleagues, with its time",
    ),
    "root_cause": (
        "the root cause, in one sentence, and what confirms it",
        "what was thought at first and turned out otherwise, and what refuted it",
    ),
    "contributing_factors": (
        "what made it possible, likelier, longer or worse: a recent change, a missing limit, a full calendar, an alert "
        "that nobody reads; name systems and processes, not people",
    ),
    "what_went_well": ("what helped, and should be kept",),
    "where_we_got_lucky": ("what could have made it worse and by chance did not",),
    "detection": ("would an alert have told us sooner? How would we have cut the time to notice by half?",),
    "response": ("what slowed us down: access, knowledge, a missing step in the runbook, too few or too many people?",),
    "tooling": ("what did we do by hand that a tool should do, and what did a tool tell us wrongly or not at all?",),
    "what_we_change": ("what we change so that it does not come back, or is found and ended sooner",),
}
# The actions that nearly every incident asks for, each with its type.
ACTIONS: tuple[tuple[str, str], ...] = (
    ("fix the cause, in code or configuration", "fix"),
    ("a test that fails where the cause is back", "test"),
    ("an alert, if none told us of it", "detect"),
    ("the runbook: this way of failing, its signs and its mitigation", "runbook"),
)
