"""Facts as OpenTelemetry spans: a projection of the log, so no span is lost and nobody instruments anything."""
