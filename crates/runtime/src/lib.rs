//! What every process needs: configuration, telemetry, supervised tasks.
