"""Anything to terminal lines or JSON; what comes from hosts is escaped here."""
