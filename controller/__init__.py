"""The responder's desk: asks the whole inventory at once, says what is wrong, keeps what was seen."""

VERSION = "0.1.0"
