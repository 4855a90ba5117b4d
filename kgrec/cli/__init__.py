"""The kgrec command."""

try:
    from kgrec.cli.entry import app, main, wait_briefly
except KeyboardInterrupt:  # Ctrl-C while modules are still being imported ends without a traceback
    raise SystemExit(130) from None

__all__ = ["app", "main", "wait_briefly"]
