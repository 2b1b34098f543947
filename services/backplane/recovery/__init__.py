"""The next step for a call: retry, fallback, degrade, escalate. Pure: functions of values."""
