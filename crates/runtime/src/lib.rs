//! What every process needs: configuration, telemetry, health, signals, supervised tasks.
