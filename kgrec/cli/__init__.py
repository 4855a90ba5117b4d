"""The kgrec command."""

try:
    from kgrec.cli.entry import app, main, wait_briefly
except KeyboardInterrupt:  # Ctrl-C in the command's first moments is no traceback
    raise SystemExit(130) from None

__all__ = ["app", "main", "wait_briefly"]
