"""The operator's commands for a deployed stack: doctor, status, redrive and reconcile."""
