"""What comes next for a call: retry, fallback, degrade, escalate. Pure: functions of values."""
